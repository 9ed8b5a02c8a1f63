"""Each role alone is killed and started again while servers are made and deleted: everything still ends, and nothing
is left over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.api.compute.actors import Shop
from tests.scenario.split.split_cloud import ROLES, SplitCloud
from verified import assert_clean

WAIT_S = 240.0
SERVERS = 6
POLL_S = 0.1


class World:
    """What the cloud holds besides the fixtures."""

    def __init__(self, split: SplitCloud, shop: Shop) -> None:
        self.split, self.shop = split, shop

    def patient(self, method: str, path: str, body: Any = None) -> requests.Response:
        """A client that asks again while nothing answers, as all do: a request counts when it is accepted."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                answer = self.shop.user.ask(method, path, body)
                if answer.status_code < 500:
                    return answer
                said = answer.text
            except (requests.ConnectionError, requests.Timeout) as error:
                said = str(error)
            assert time.monotonic() < deadline, said
            time.sleep(POLL_S)

    def boot(self, name: str) -> str:
        server = {
            "name": name, "flavorRef": self.shop.flavor, "imageRef": self.shop.image,
            "networks": [{"uuid": self.shop.network}],
        }
        answer = self.patient("POST", "/servers", {"server": server})
        assert answer.status_code == 202, answer.text
        return answer.json()["server"]["id"]

    def final(self, server: str) -> str:
        """Wait for the final state of a server: its status, GONE when it is no more."""
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = self.patient("GET", f"/servers/{server}")
            if answer.status_code == 404:
                return "GONE"
            found = answer.json()["server"]
            if found["OS-EXT-STS:task_state"] is None and found["status"] in ("ACTIVE", "ERROR"):
                assert found["status"] == "ACTIVE" or found["fault"]["message"]
                return found["status"]
            assert time.monotonic() < deadline, self.story(server, found)
            time.sleep(POLL_S)

    def gone(self, server: str) -> None:
        """Delete a server and wait until it is no more."""
        deadline = time.monotonic() + WAIT_S
        while (answer := self.patient("DELETE", f"/servers/{server}")).status_code not in (204, 404):
            assert time.monotonic() < deadline, answer.text
            time.sleep(POLL_S)
        while self.patient("GET", f"/servers/{server}").status_code != 404:
            assert time.monotonic() < deadline, self.story(server, {})
            time.sleep(POLL_S)

    def until_at_work(self) -> None:
        """Wait until flows run."""
        deadline = time.monotonic() + WAIT_S
        while not self.split.rows("compute", "flows", "state = 'running' AND lease_owner IS NOT NULL", "id"):
            assert time.monotonic() < deadline, "no flow was ever at work"

    def story(self, server: str, found: dict[str, Any]) -> str:
        flows = self.split.rows("compute", "flows", f"resource_id = '{server}'")
        lines = self.split.rows(
            "compute", "flow_journal",
            f"flow_id IN (SELECT id FROM `{self.split.schemas['compute']}`.flows WHERE resource_id = '{server}')",
        )
        return f"{found}\n{flows}\n{lines}\n{self.split.log('compute-conductor')}"

    def left(self) -> dict[str, Any]:
        """Everything that belongs to servers, in databases, on the host, and in the agents' hands."""
        guests: dict[str, Any] = {}
        for line in (self.split.state_dir / "compute" / "fake-guests.json").read_text().splitlines():
            guests |= json.loads(line)  # each line: what changed
        return {
            "servers": self.split.rows("compute", "servers", "deleted_at IS NULL", "id"),
            "flows": self.split.rows("compute", "flows", "state IN ('running', 'undoing')", "id, name"),
            "ports": self.split.rows("network", "ports", "device_owner LIKE 'compute:%'", "id"),
            "allocations": self.split.rows("placement", "allocations"),
            "consumers": self.split.rows("placement", "consumers"),
            "guests": [server for server, guest in guests.items() if guest is not None],
            "disks": [path.name for path in (self.split.state_dir / "compute" / "instances").glob("*")],
        }

    def nothing_is_left(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while any((left := self.left()).values()):
            assert time.monotonic() < deadline, left
            time.sleep(POLL_S)


@pytest.fixture(scope="module")
def world(split: SplitCloud, shop: Shop) -> World:
    return World(split, shop)


def come_and_go(world: World, disturb: Callable[[], object]) -> list[str]:
    """Half of the servers are being made, the other half deleted, while the cloud is disturbed. Returns how those that
    were being made ended; then they are deleted too."""
    with ThreadPoolExecutor(SERVERS) as clients:
        old = list(clients.map(world.boot, [f"old-{n}" for n in range(SERVERS // 2)]))
        assert set(clients.map(world.final, old)) == {"ACTIVE"}
        new = clients.map(world.boot, [f"new-{n}" for n in range(SERVERS // 2)])
        deleted = [clients.submit(world.gone, server) for server in old]
        world.until_at_work()
        disturb()
        servers = list(new)
        ended = list(clients.map(world.final, servers))
        for work in deleted:
            work.result()
        list(clients.map(world.gone, servers))
    world.nothing_is_left()
    return ended


@pytest.mark.parametrize("role", ROLES)
def test_a_role_killed_while_servers_come_and_go(world: World, role: str) -> None:
    def kill() -> None:
        world.split.kill(role)
        world.split.start_role(role)

    assert come_and_go(world, kill) == ["ACTIVE"] * (SERVERS // 2)


def test_the_broker_killed_while_servers_come_and_go(world: World, rabbitmq: RabbitMQ) -> None:
    """Messages, connections and queues are gone for seconds; no server notices more than that."""

    def kill() -> None:
        rabbitmq.kill()
        rabbitmq.start()

    assert come_and_go(world, kill) == ["ACTIVE"] * (SERVERS // 2)


def test_the_database_server_killed_while_servers_come_and_go(world: World, mariadb: MariaDB) -> None:
    def kill() -> None:
        mariadb.kill()
        mariadb.resume()

    assert come_and_go(world, kill) == ["ACTIVE"] * (SERVERS // 2)


def test_verify_finds_nothing_after_all_of_it(world: World) -> None:
    assert_clean(world.split.state_dir, config=world.split.config)
