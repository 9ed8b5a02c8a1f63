"""Two processes serve the same cloud on one MariaDB: nothing is given out twice, no limit is passed, no race is a 500.

Both dawdle between what a transaction has seen and what it makes of it, so that those that could overlap do.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, event

from cloud import FAKE_DRIVERS, Cloud
from engines.mariadb import OTHER_MEMBER, SHARED

AT_ONCE = 12
START_S = 120
DAWDLE_S = 0.01
SEGMENTS = 12
API_ROLES = ("compute-api", "identity-api", "image-api", "network-api", "placement-api")

Ask = Callable[["Door", int], requests.Response]


class Door:
    """One of the processes, as one user sees it. No session: requests of one thread must not share connections."""

    def __init__(self, port: int, token: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = token

    def ask(self, method: str, path: str, body: Any = None, version: str = "") -> requests.Response:
        headers = {"X-Auth-Token": self.token, "Connection": "close"} | (
            {"OpenStack-API-Version": version} if version else {}
        )
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=120)


def _dawdle(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
    if statement.startswith("INSERT") and "pileus_turns" not in statement:
        time.sleep(DAWDLE_S)


def _serve_too(state_dir: Path, pipe: Connection) -> None:
    event.listen(Engine, "before_cursor_execute", _dawdle)
    os.environ[SHARED] = os.environ.get(OTHER_MEMBER, os.environ[SHARED])
    with Cloud(state_dir, tables=_tables(), roles=API_ROLES, database="mariadb") as cloud:
        pipe.send(cloud.port)
        pipe.recv()


def _tables() -> dict[str, Any]:
    return {"network": FAKE_DRIVERS["network"] | {"vni_ranges": [[1, SEGMENTS]]}}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), tables=_tables(), database="mariadb") as running:
        event.listen(Engine, "before_cursor_execute", _dawdle)
        yield running
        event.remove(Engine, "before_cursor_execute", _dawdle)
    running.drop_schemas()


@pytest.fixture(scope="module")
def second_port(cloud: Cloud) -> Iterator[int]:
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve_too, args=(cloud.state_dir, theirs))
    process.start()
    try:
        assert mine.poll(START_S), "the second process did not start"
        yield mine.recv()
        mine.send("stop")
        process.join(START_S)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join(START_S)


class Crowd:
    """Many clients of one project at both doors."""

    def __init__(self, cloud: Cloud, second_port: int) -> None:
        self.cloud = cloud
        self.project, token = cloud.new_project(f"crowd-{uuid.uuid4().hex[:8]}")
        self.doors = [Door(cloud.port, token), Door(second_port, token)]
        admin = cloud.admin_token()
        self.admins = [Door(cloud.port, admin), Door(second_port, admin)]

    def rush(self, count: int, ask: Ask, doors: list[Door] | None = None) -> list[requests.Response]:
        """`ask(door, n)` for n below `count`, by turns at either door, many at once."""
        choice = doors or self.doors
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda n: ask(choice[n % 2], n), range(count)))

    def get(self, path: str, version: str = "") -> Any:
        """As an administrator."""
        answer = self.admins[0].ask("GET", path, version=version)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, path: str, body: Any) -> None:
        """As an administrator."""
        answer = self.admins[0].ask("PUT", path, body)
        assert answer.status_code in (200, 201), answer.text

    def make_network(self, cidr: str) -> str:
        made = self.doors[0].ask("POST", "/network/v2.0/networks", {"network": {"name": "n"}})
        assert made.status_code == 201, made.text
        network_id = made.json()["network"]["id"]
        subnet = {"network_id": network_id, "cidr": cidr, "ip_version": 4, "enable_dhcp": False}
        answer = self.doors[1].ask("POST", "/network/v2.0/subnets", {"subnet": subnet})
        assert answer.status_code == 201, answer.text
        return network_id

    def add_port(self, network_id: str, **values: Any) -> Ask:
        body = {"port": {"network_id": network_id, **values}}
        return lambda door, _n: door.ask("POST", "/network/v2.0/ports", body)


@pytest.fixture
def crowd(cloud: Cloud, second_port: int) -> Crowd:
    return Crowd(cloud, second_port)


def codes(answers: list[requests.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def test_a_quota_of_servers_is_reached_and_never_passed(crowd: Crowd) -> None:
    crowd.put(f"/compute/v2.1/os-quota-sets/{crowd.project}", {"quota_set": {"instances": 7, "cores": -1, "ram": -1}})
    flavor = {"flavor": {"name": f"f-{crowd.project}", "ram": 64, "vcpus": 1, "disk": 0}}
    made = crowd.admins[0].ask("POST", "/compute/v2.1/flavors", flavor)
    assert made.status_code == 200, made.text
    server = {
        "server": {
            "name": "s", "flavorRef": made.json()["flavor"]["id"], "imageRef": make_image(crowd), "networks": "none",
        }
    }
    answers = crowd.rush(40, lambda door, _n: door.ask("POST", "/compute/v2.1/servers", server, "compute 2.90"))
    assert codes(answers) == {202: 7, 403: 33}
    servers = crowd.get(f"/compute/v2.1/servers?all_tenants=1&project_id={crowd.project}")["servers"]
    assert len(servers) == 7


def make_image(crowd: Crowd) -> str:
    body = {"name": "i", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    made = crowd.admins[0].ask("POST", "/image/v2/images", body)
    assert made.status_code == 201, made.text
    path, headers = f"/image/v2/images/{made.json()['id']}/file", {"Content-Type": "application/octet-stream"}
    admin = crowd.admins[0]
    sent = requests.put(
        admin.url + path, data=b"\0" * 512, headers=headers | {"X-Auth-Token": admin.token}, timeout=120
    )
    assert sent.status_code == 204, sent.text
    return made.json()["id"]


def test_a_quota_of_ports_is_reached_and_never_passed(crowd: Crowd) -> None:
    network = crowd.make_network("10.1.0.0/24")
    crowd.put(f"/network/v2.0/quotas/{crowd.project}", {"quota": {"port": 9}})
    answers = crowd.rush(40, crowd.add_port(network))
    assert codes(answers) == {201: 9, 409: 31}
    assert len(crowd.get(f"/network/v2.0/ports?network_id={network}")["ports"]) == 9


def test_every_address_of_a_subnet_is_given_out_once(crowd: Crowd) -> None:
    network = crowd.make_network("10.2.0.0/28")
    answers = crowd.rush(40, crowd.add_port(network))
    assert codes(answers) == {201: 13, 409: 27}  # 16 but for network, gateway, broadcast
    ports = crowd.get(f"/network/v2.0/ports?network_id={network}")["ports"]
    addresses = [ip["ip_address"] for port in ports for ip in port["fixed_ips"]]
    assert len(set(addresses)) == len(addresses) == 13
    assert len({port["mac_address"] for port in ports}) == 13


def test_an_address_that_everybody_wants_goes_to_one(crowd: Crowd) -> None:
    network = crowd.make_network("10.3.0.0/24")
    answers = crowd.rush(24, crowd.add_port(network, fixed_ips=[{"ip_address": "10.3.0.77"}]))
    assert codes(answers) == {201: 1, 409: 23}


def test_every_segment_is_given_out_once(crowd: Crowd) -> None:
    before = len(crowd.get("/network/v2.0/networks")["networks"])
    answers = crowd.rush(30, lambda door, _n: door.ask("POST", "/network/v2.0/networks", {"network": {"name": "seg"}}))
    networks = crowd.get("/network/v2.0/networks")["networks"]
    segments = [network["provider:segmentation_id"] for network in networks]
    assert sorted(segments) == list(range(1, SEGMENTS + 1))
    assert codes(answers) == {201: SEGMENTS - before, 503: 30 - SEGMENTS + before}
    made = [answer.json()["network"]["id"] for answer in answers if answer.status_code == 201]
    gone = crowd.rush(len(made), lambda door, n: door.ask("DELETE", f"/network/v2.0/networks/{made[n]}"))
    assert codes(gone) == {204: len(made)}


def test_an_inventory_is_never_promised_twice(crowd: Crowd) -> None:
    provider = str(uuid.uuid4())
    version = "placement 1.39"
    crowd.admins[0].ask("POST", "/placement/resource_providers", {"name": provider, "uuid": provider}, version)
    stock = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 10}}}
    assert crowd.admins[0].ask(
        "PUT", f"/placement/resource_providers/{provider}/inventories", stock, version
    ).status_code == 200
    claim = {
        "allocations": {provider: {"resources": {"VCPU": 1}}}, "consumer_generation": None, "consumer_type": "TEST",
        "project_id": crowd.project, "user_id": crowd.project,
    }
    answers = crowd.rush(
        40, lambda door, _n: door.ask("PUT", f"/placement/allocations/{uuid.uuid4()}", claim, version), crowd.admins
    )
    assert codes(answers) == {204: 10, 409: 30}
    usages = crowd.get(f"/placement/resource_providers/{provider}/usages", version)["usages"]
    assert usages == {"VCPU": 10}


@pytest.mark.parametrize(
    ("path", "body", "made"),
    [
        ("/compute/v2.1/os-keypairs", {"keypair": {"name": "key"}}, 200),
        ("/compute/v2.1/flavors", {"flavor": {"name": "F", "ram": 1, "vcpus": 1, "disk": 0, "id": "F"}}, 200),
        ("/compute/v2.1/os-aggregates", {"aggregate": {"name": "A"}}, 200),
        ("/identity/v3/projects", {"project": {"name": "P"}}, 201),
        ("/identity/v3/users", {"user": {"name": "U", "password": "secret-U"}}, 201),
        ("/identity/v3/roles", {"role": {"name": "R"}}, 201),
        ("/image/v2/images", {"id": str(uuid.uuid4()), "name": "I"}, 201),
        ("/placement/resource_providers", {"name": "H"}, 200),
    ],
    ids=lambda value: value.rsplit("/", 1)[-1] if isinstance(value, str) else "",
)
def test_a_name_goes_to_one_and_the_others_are_told(crowd: Crowd, path: str, body: Any, made: int) -> None:
    version = "placement 1.39" if path.startswith("/placement") else ""
    answers = crowd.rush(16, lambda door, _n: door.ask("POST", path, body, version), crowd.admins)
    assert codes(answers) == {made: 1, 409: 15}


def test_ports_and_the_end_of_their_network_exclude_each_other(crowd: Crowd) -> None:
    for _ in range(4):
        network = crowd.make_network("10.4.0.0/24")

        def ask(door: Door, n: int, network: str = network) -> requests.Response:
            if n % 3 == 2:
                return door.ask("DELETE", f"/network/v2.0/networks/{network}")
            return crowd.add_port(network)(door, n)

        answers = crowd.rush(12, ask)
        assert set(codes(answers)) <= {201, 204, 404, 409}
        ports = [answer for answer in answers if answer.status_code == 201]
        left = crowd.get(f"/network/v2.0/ports?network_id={network}")["ports"]
        networks = crowd.get(f"/network/v2.0/networks?id={network}")["networks"]
        assert len(left) == len(ports)
        assert len(networks) == (1 if ports else 0)
