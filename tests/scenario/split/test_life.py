"""A cloud of one process per role does what the one-process cloud does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import openstack
import requests

from cloud import free_port
from tests.api.compute.actors import Shop
from tests.scenario.split.split_cloud import ROLES, SplitCloud

WAIT_S = 150.0
AGENTS = ("compute-agent", "network-l2", "network-l3", "network-dhcp")


def test_each_role_is_a_process_and_says_so(split: SplitCloud) -> None:
    for role in ROLES:
        command = Path(f"/proc/{split.pid(role)}/cmdline").read_text().split("\0")
        assert command[command.index("serve") + 1] == role
        assert f"serving roles={role} host=split-host" in split.log(role, last=1_000_000)
    assert len({split.pid(role) for role in ROLES}) == len(ROLES)


def test_agents_hold_no_connection_to_the_database(split: SplitCloud, shop: Shop) -> None:
    peers = {role: _peers(split.pid(role)) for role in ROLES}
    assert {role for role, ports in peers.items() if split.database.port in ports}.isdisjoint(AGENTS)
    assert split.database.port in peers["compute-conductor"] | peers["compute-api"]
    assert not any(name.endswith(".sqlite") for role in AGENTS for name in _open_files(split.pid(role)))


def test_a_role_does_not_start_twice(split: SplitCloud) -> None:
    for words, refusal in (
        (("serve", "compute-conductor"), "compute-conductor runs already on split-host"),
        (("run",), "runs already"),
    ):
        command = [sys.executable, "-m", "pileus.cli.main", *words, "--config", str(split.config)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert second.returncode == 1
        assert refusal in second.stderr


def test_the_life_of_a_server_with_a_port_and_a_floating_address(split: SplitCloud, shop: Shop) -> None:
    admin = _stock(split, "admin", split.admin_password)
    user = _stock(split, "shop", "s3cret-shop")
    outside = admin.network.create_network(name="outside", is_router_external=True)
    admin.network.create_subnet(network_id=outside.id, cidr="198.51.100.0/24", ip_version=4, is_dhcp_enabled=False)
    inside = next(user.network.subnets(network_id=shop.network))
    router = user.network.create_router(name="r", external_gateway_info={"network_id": outside.id})
    user.network.add_interface_to_router(router, subnet=inside.id)
    port = user.network.create_port(network_id=shop.network, name="nic")
    server = user.compute.create_server(
        name="guest", image_id=shop.image, flavor_id=shop.flavor, networks=[{"port": port.id}]
    )
    server = user.compute.wait_for_server(server, wait=WAIT_S)
    assert user.network.get_port(port.id).status == "ACTIVE"
    floating = user.network.create_ip(floating_network_id=outside.id, port_id=port.id)
    _until(lambda: user.network.get_ip(floating.id).status == "ACTIVE")
    address = floating.floating_ip_address
    _until(lambda: address in [a["addr"] for a in user.compute.get_server(server.id).addresses["shop-net"]])
    user.compute.stop_server(server)
    user.compute.wait_for_server(server, status="SHUTOFF", wait=WAIT_S)
    user.compute.start_server(server)
    user.compute.wait_for_server(server, wait=WAIT_S)
    user.compute.delete_server(server)
    user.compute.wait_for_delete(server, wait=WAIT_S)
    assert split.rows("placement", "allocations") == []
    user.network.delete_ip(floating)
    user.network.delete_port(port)
    user.network.remove_interface_from_router(router, subnet=inside.id)
    user.network.delete_router(router)


def test_a_commit_in_the_api_wakes_the_conductor_in_its_process_at_once(split: SplitCloud, shop: Shop) -> None:
    """Without the ring the flow would wait for the conductor's poll, every 5 s."""
    waits = []
    for number in range(7):
        server = shop.boot(f"rung-{number}", networks="none")
        shop.user.until_status(server, "ACTIVE", timeout_s=WAIT_S)
        waits.append(min(_first_lines(split, server)))
        shop.user.delete(server)
    print("ms from the commit to the first step's line:", waits)
    assert sorted(waits)[3] < 1_200, waits


def test_a_revoked_token_is_refused_by_every_process(split: SplitCloud, shop: Shop) -> None:
    token = split.token("shop", "s3cret-shop", "shop")
    paths = ("/compute/v2.1/servers", "/network/v2.0/networks", "/image/v2/images")
    for path in paths:
        assert split.request("GET", path, token=token).status_code == 200
    gone = split.request("DELETE", "/identity/v3/auth/tokens", token=token, headers={"X-Subject-Token": token})
    assert gone.status_code == 204
    begun = time.monotonic()
    for path in paths:
        _until(lambda path=path: split.request("GET", path, token=token).status_code == 401)
    assert time.monotonic() - begun < 3, "the event did not come; only the cache's age did it"


def test_a_role_that_ends_by_signal_ends_well_and_comes_back(split: SplitCloud, shop: Shop) -> None:
    for role in ("compute-agent", "network-server", "identity-api"):
        split.stop_role(role)
        split.start_role(role)
    server = shop.boot("after")
    shop.user.until_status(server, "ACTIVE", timeout_s=WAIT_S)
    shop.user.delete(server)


def _first_lines(split: SplitCloud, server: str) -> list[float]:
    """Milliseconds from the request's commit to each journal line of the server's flows."""
    schema = split.schemas["compute"]
    return [float(row[0]) for row in split.database.execute(
        f"SELECT (j.at - f.created_at) / 1000 FROM `{schema}`.flow_journal j "
        f"JOIN `{schema}`.flows f ON f.id = j.flow_id WHERE f.resource_id = '{server}' AND f.name = 'create_server'"
    )]


def _stock(split: SplitCloud, user: str, password: str) -> openstack.connection.Connection:
    return openstack.connect(
        auth_url=f"{split.url}/identity/v3", username=user, password=password, project_name=user,
        user_domain_id="default", project_domain_id="default", region_name="RegionOne", load_yaml_config=False,
        load_envvars=False,
    )


def _until(probe) -> None:
    deadline = time.monotonic() + WAIT_S
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _peers(pid: int) -> set[int]:
    """Remote TCP ports of a process's established connections."""
    inodes = {name[8:-1] for name in _open_files(pid) if name.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] == "01":
                found.add(int(fields[2].rpartition(":")[2], 16))
    return found


def _open_files(pid: int) -> list[str]:
    names = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # closed meanwhile
    return names


def test_two_identity_processes_are_one_identity(split: SplitCloud, shop: Shop) -> None:
    """They share keys and rows: a token of one is good at the other, until it is revoked at either."""
    port = free_port()
    command = [sys.executable, "-m", "pileus.cli.main", "serve", "identity-api", "--config", str(split.config)]
    with subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL) as second:
        try:
            there = f"http://127.0.0.1:{port}/identity/v3/auth/tokens"
            token = split.token("shop", "s3cret-shop", "shop")
            headers = {"X-Auth-Token": token, "X-Subject-Token": token}
            _until(lambda: _status(there, headers) == 200)
            assert split.request("DELETE", "/identity/v3/auth/tokens", headers=headers).status_code == 204
            _until(lambda: _status(there, headers) == 401)
        finally:
            second.terminate()
    assert second.returncode == 0


def _status(url: str, headers: dict[str, str]) -> int:
    try:
        return requests.get(url, headers=headers, timeout=WAIT_S).status_code
    except requests.ConnectionError:
        return 0
