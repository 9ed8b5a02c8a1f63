"""`pileus trace` shows an operation hop by hop, whoever did them, in order, and follows it while it runs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from actors import Shop

from cloud import Cloud
from pileus.cli import main
from pileus.kernel import context
from pileus.services.compute.worker.agent import ComputeAgent

from .command import LINE, hops_of, layout_of, traced, where

CREATE = [
    ("compute-api", "POST /v2.1/servers"),
    ("image-api", "GET /v2/images/"),
    ("network-api", "GET /v2.0/networks"),
    ("compute-conductor", "create_server: choose_host"),
    ("placement-api", "GET /allocation_candidates"),
    ("placement-api", "PUT /allocations/"),
    ("compute-conductor", "create_server: allocate_ports"),
    ("network-api", "POST /v2.0/ports"),
    ("compute-conductor", "create_server: prepare"),
    ("compute-agent", "PrepareServer"),
    ("compute-agent", "guest"),
    ("compute-conductor", "create_server: wire"),
    ("compute-conductor", "create_server: start"),
    ("compute-agent", "StartServer"),
    ("compute-agent", "start guest"),
]
"""Every role's part of building a server, in order."""


def _boot(shop: Shop, name: str, **values: Any) -> tuple[str, str]:
    """A server's id, and the id of the request that asked for it."""
    answer = shop.try_boot(name, **values)
    assert answer.status_code == 202, answer.text
    return answer.json()["server"]["id"], answer.headers["X-Openstack-Request-Id"]


def _agent(cloud: Cloud) -> ComputeAgent:
    assert cloud.node is not None
    return cloud.node.runtimes["compute"].get(ComputeAgent)


def _in_order(hops: list[tuple[str, str]], wanted: list[tuple[str, str]]) -> None:
    """All of `wanted` is among the hops, in this order."""
    rest = iter(hops)
    for role, name in wanted:
        assert any(one[0] == role and one[1].startswith(name) for one in rest), (role, name, hops)


@pytest.mark.parametrize("by", ["request", "server"])
def test_every_roles_hop_is_there_in_order(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    server, request = _boot(shop, f"traced-by-{by}")
    shop.user.until_status(server, "ACTIVE")
    hops = hops_of(cloud, capsys, request if by == "request" else server)
    shown = [(hop["role"], hop["name"]) for hop in hops]
    _in_order(shown, CREATE)
    assert {("network-l2", "port ACTIVE"), ("network-dhcp", "lease ready")} <= set(shown)
    assert all(hop["host"] == "test-host" for hop in hops)
    assert hops[0]["offset_ms"] == 0
    assert [hop["at"] for hop in hops] == sorted(hop["at"] for hop in hops)
    own, siblings = ("compute-api", "compute-conductor", "compute-agent"), ("image-api", "network-api", "placement-api")
    assert {hop["request_id"] for hop in hops if hop["role"] in own} == {request}
    assert {hop["global_request_id"] for hop in hops if hop["role"] in siblings} == {request}


def test_causes_are_indented_and_other_requests_left_out(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    server, request = _boot(shop, "indented")
    _boot(shop, "somebody-else")
    shop.user.until_status(server, "ACTIVE")
    hops = hops_of(cloud, capsys, request)
    depth = {hop["name"].partition("/")[0] if hop["kind"] == "http" else hop["name"]: hop["depth"] for hop in hops}
    steps = [hop for hop in hops if hop["kind"] == "flow"]
    assert hops[0]["depth"] == 0
    assert {hop["depth"] for hop in steps} == {1}
    assert (depth["PrepareServer"], depth["guest"]) == (2, 3)
    assert {hop["root"] for hop in hops} == {request}
    others = {hop["resource_id"] for hop in steps}
    assert others == {server}


def test_a_server_shows_its_whole_life_by_request(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    server, request = _boot(shop, "whole-life")
    shop.user.until_status(server, "ACTIVE")
    stopped = shop.user.act(server, "os-stop").headers["X-Openstack-Request-Id"]
    shop.user.until_status(server, "SHUTOFF")
    deleted = shop.user.ask("DELETE", f"/servers/{server}").headers["X-Openstack-Request-Id"]
    shop.user.until_gone(server)
    status, lines = traced(cloud, capsys, server)
    headings = [line.split()[3] for line in lines if "UTC" in line]
    assert status == 0
    assert headings[:3] == [request, stopped, deleted]
    text = "\n".join(lines)
    for part in ("StopServer", "end guest", "delete_server: destroy", "remove guest", "DELETE /v2.0/ports/"):
        assert part in text


def test_a_clients_global_request_id_finds_everything_it_did(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = context.new_request_id()
    body = {"server": {"name": "g", "flavorRef": shop.flavor, "imageRef": shop.image,
                       "networks": [{"uuid": shop.network}]}}
    headers = {"OpenStack-API-Version": "compute 2.96", "X-OpenStack-Request-ID": mine}
    answer = cloud.request("POST", "/compute/v2.1/servers", token=shop.user.token, json=body, headers=headers)
    server, request = answer.json()["server"]["id"], answer.headers["X-Openstack-Request-Id"]
    assert request != mine
    shop.user.until_status(server, "ACTIVE")
    hops = hops_of(cloud, capsys, mine)
    _in_order([(hop["role"], hop["name"]) for hop in hops], CREATE)
    assert {hop["global_request_id"] for hop in hops if hop["request_id"]} == {mine}
    by_own = hops_of(cloud, capsys, request)
    _in_order([(hop["role"], hop["name"]) for hop in by_own], CREATE)


def test_a_port_shows_who_made_it_and_who_wired_it(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    server, request = _boot(shop, "with-port")
    shop.user.until_status(server, "ACTIVE")
    port = shop.user.network("GET", f"/ports?device_id={server}").json()["ports"][0]["id"]
    hops = hops_of(cloud, capsys, port)
    shown = [(hop["role"], hop["name"]) for hop in hops]
    assert {hop["root"] for hop in hops} == {request}
    _in_order(shown, [("compute-api", "POST /v2.1/servers"), ("compute-conductor", "create_server: allocate_ports"),
                      ("network-api", "POST /v2.0/ports"), ("network-l2", "port ACTIVE")])
    assert ("placement-api", "GET /allocation_candidates") not in shown


def test_several_servers_of_one_request_do_not_mix(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = shop.try_boot("many", min_count=3, max_count=3)
    request = answer.headers["X-Openstack-Request-Id"]
    found = shop.user.get("/servers?name=many")["servers"]
    ids = [server["id"] for server in found]
    assert len(ids) == 3
    for server in ids:
        shop.user.until_status(server, "ACTIVE")
    steps = [hop for hop in hops_of(cloud, capsys, request) if hop["kind"] == "flow"]
    assert {hop["resource_id"] for hop in steps} == set(ids)
    for server in ids:
        of_one = [hop for hop in hops_of(cloud, capsys, server) if hop["kind"] == "flow"]
        assert {hop["resource_id"] for hop in of_one} == {server}


def test_a_failure_shows_its_fault_and_the_undoing(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    _agent(cloud).hypervisor.fail_starts = 1  # type: ignore[attr-defined]
    server, request = _boot(shop, "failing")
    shop.user.until_status(server, "ERROR")
    status, lines = traced(cloud, capsys, request)
    text = "\n".join(lines)
    assert status == 0
    assert "create_server: start  → failed" in text
    assert "driver_failed: The hypervisor could not do it." in text
    assert "told to fail this start" in text
    assert "StartServer  → failed" in text
    assert "create_server: undo prepare" in text
    assert "create_server: end  → failed" in text


def test_it_follows_while_the_operation_runs_and_ends_with_it(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    hypervisor = _agent(cloud).hypervisor
    hypervisor.latency_s = 1.0  # type: ignore[attr-defined]
    server, request = _boot(shop, "followed")
    ended: list[int] = []
    follower = threading.Thread(target=lambda: ended.append(main.main([
        "trace", request, *where(cloud), "--timeout", "90"
    ])))
    follower.start()
    try:
        live = _until_printed(capsys, "create_server: choose_host")
        assert not ended, "it ended before the operation did"
        assert shop.user.server(server)["status"] == "BUILD"
    finally:
        hypervisor.latency_s = 0.0  # type: ignore[attr-defined]
    shop.user.until_status(server, "ACTIVE", timeout_s=60)
    follower.join(60)
    assert ended == [0]
    lines = (live + capsys.readouterr().out).splitlines()
    found = [match for line in lines if (match := LINE.fullmatch(line)) is not None]
    assert len([line for line in lines if " UTC  " in line]) == 1, "all of it belongs to one request"
    for role, name in CREATE:
        assert any(match["role"] == role and match["what"].strip().startswith(name) for match in found), (role, name)
    steps = [match["what"].split()[1] for match in found if match["role"] == "compute-conductor"
             and match["took"] != "running"]
    assert steps == ["choose_host", "allocate_ports", "prepare", "wire", "start"]
    assert any(match["took"] == "running" for match in found)
    assert "the operation has ended" in lines[-1]


def test_it_waits_for_an_operation_that_is_told_to_come(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, ended = context.new_request_id(), list[int]()
    follower = threading.Thread(target=lambda: ended.append(main.main([
        "trace", mine, *where(cloud), "--timeout", "60", "--follow"
    ])))
    follower.start()
    body, headers = {"network": {"name": "awaited"}}, {"X-OpenStack-Request-ID": mine}
    made = cloud.request("POST", "/network/v2.0/networks", token=shop.user.token, json=body, headers=headers)
    follower.join(90)
    assert ended == [0]
    printed = capsys.readouterr().out
    assert "POST /v2.0/networks  → 201" in printed
    assert made.headers["X-Openstack-Request-Id"] in printed


def _until_printed(capsys: pytest.CaptureFixture[str], text: str, timeout_s: float = 60.0) -> str:
    printed, deadline = "", time.monotonic() + timeout_s
    while text not in printed:
        assert time.monotonic() < deadline, printed
        time.sleep(0.05)
        printed += capsys.readouterr().out
    return printed


def test_following_is_bounded(cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    hypervisor = _agent(cloud).hypervisor
    hypervisor.latency_s = 2.0  # type: ignore[attr-defined]
    try:
        server, request = _boot(shop, "slow")
        status = main.main(["trace", request, *where(cloud), "--timeout", "0.5"])
        printed = capsys.readouterr()
        assert status == 1
        assert "still runs after 0.5 s" in printed.err
        assert "running" in printed.out
        once = main.main(["trace", request, *where(cloud), "--once"])
        assert once == 0
    finally:
        hypervisor.latency_s = 0.0  # type: ignore[attr-defined]
    shop.user.until_status(server, "ACTIVE", timeout_s=60)


@pytest.mark.parametrize("target", ["nonsense", "req-00000000-0000-4000-8000-000000000000", "\x1b[2J"])
def test_what_nobody_knows_is_said_so(cloud: Cloud, capsys: pytest.CaptureFixture[str], target: str) -> None:
    for command in ("trace", "why"):
        assert main.main([command, target, *where(cloud)]) == 1
        printed = capsys.readouterr()
        assert "nothing is known of" in printed.err
        assert "\x1b" not in printed.err + printed.out
        assert printed.out == ""


def test_without_a_cloud_nothing_is_made(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("trace", "why"):
        assert main.main([command, "x", "--state-dir", str(tmp_path / "nowhere")]) == 1
        assert "no databases of a cloud" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_it_works_beside_a_stopped_cloud(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path_factory.mktemp("stopped")
    with Cloud(directory) as cloud:
        shop = Shop(cloud)
        server, request = _boot(shop, "left-behind")
        shop.user.until_status(server, "ACTIVE")
        layout = layout_of(cloud)
    assert layout.state_dir == directory
    shown = [(hop["role"], hop["name"]) for hop in hops_of(cloud, capsys, request)]
    _in_order(shown, CREATE)  # what was recorded last before the stop is there, too
