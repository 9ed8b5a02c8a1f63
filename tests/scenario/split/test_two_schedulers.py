"""Two schedulers and two conductors share the work, and give out exactly what there is."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.api.compute.actors import Actor, make_image
from tests.scenario.split.split_cloud import API_ROLES, SplitCloud

APIS = " ".join((*API_ROLES, "identity-upkeep", "image-reconciler", "network-server"))
CONTROLLERS = ("c1", "c2")
HOSTS = ("n1", "n2", "n3", "n4", "n5")
ROLES = (
    APIS,
    *(f"compute-scheduler@{host}" for host in CONTROLLERS),
    *(f"compute-conductor@{host}" for host in CONTROLLERS),
    *(f"compute-agent@{host}" for host in HOSTS),
)
AT_ONCE = 60
WAIT_S = 420.0
REFUSAL = "No valid host was found. There are not enough hosts available."


@contextmanager
def five_hosts(directory: Path, broker: RabbitMQ, database: MariaDB, slots: int) -> Iterator[SplitCloud]:
    """A cloud with so many slots on each of five hosts."""
    compute = {"cpu_allocation_ratio": 1.0, "agent": {"hypervisor": "fake", "fake_vcpus": slots}}
    tables = {"compute": compute}
    with SplitCloud(directory, broker=broker, database=database, roles=ROLES, tables=tables) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB) -> Iterator[Crowd]:
    """Twenty-five slots."""
    with five_hosts(tmp_path_factory.mktemp("small"), rabbitmq, mariadb, slots=5) as cloud:
        yield Crowd(cloud)


def test_thirty_boots_on_twenty_five_slots(small: Crowd) -> None:
    small.boot(30)
    small.check(active=25, refused=5)
    small.check_services()
    small.clear()


def test_a_scheduler_that_dies_under_load_is_not_missed(small: Crowd) -> None:
    killer = threading.Timer(0.3, small.cloud.kill, ("compute-scheduler@c1",))
    killer.start()
    took_s = small.boot(25)
    killer.join()
    print(f"25 boots while a scheduler dies: {took_s:.1f} s")
    small.check(active=25, refused=0)
    small.clear()
    small.cloud.start_role("compute-scheduler@c1")


@pytest.mark.long
def test_without_any_scheduler_a_server_waits_and_is_refused_with_the_reason(small: Crowd) -> None:
    schedulers = [f"compute-scheduler@{host}" for host in CONTROLLERS]
    for role in schedulers:
        small.cloud.kill(role)
    print(f"refused after {small.boot(1):.1f} s")
    (server,) = small.user.get("/servers/detail")["servers"]
    assert (server["status"], server["fault"]["message"]) == ("ERROR", "No compute-scheduler is running.")
    small.clear()
    for role in schedulers:
        small.cloud.start_role(role)
    small.boot(25)
    small.check(active=25, refused=0)
    small.clear()


@pytest.mark.long
def test_three_hundred_boots_on_two_hundred_fifty_slots(
    tmp_path: Path, rabbitmq: RabbitMQ, mariadb: MariaDB
) -> None:
    with five_hosts(tmp_path, rabbitmq, mariadb, slots=50) as cloud:
        crowd = Crowd(cloud)
        took_s = crowd.boot(300)
        print(f"300 boots on 250 slots: {took_s:.1f} s until all had ended, {took_s / 300 * 1000:.0f} ms each")
        crowd.check(active=250, refused=50)


class Crowd:
    """Many who want a server at the same time."""

    def __init__(self, cloud: SplitCloud) -> None:
        self.cloud = cloud
        self.admin = Actor(cloud, cloud.admin_token())
        self.project, token = cloud.new_project("crowd")
        self.user = Actor(cloud, token, self.project)
        unlimited = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        assert self.admin.ask("PUT", f"/os-quota-sets/{self.project}", unlimited).status_code == 200
        flavor = {"flavor": {"name": "slot", "ram": 64, "vcpus": 1, "disk": 0}}
        self.flavor = self.admin.ask("POST", "/flavors", flavor).json()["flavor"]["id"]
        self.image = make_image(cloud, self.admin.token, "crowd", visibility="public")
        self.until(self._hosts_are_there, "five hosts")

    def boot(self, count: int) -> float:
        """Ask for so many at once and wait until all have ended; seconds that it took."""
        begun = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(self._one, range(count)))
        assert [answer.status_code for answer in answers] == [202] * count
        self.until(lambda: self.cloud.rows("compute", "flows", "ended_at IS NULL", "id") == [], "the end of all flows")
        return time.monotonic() - begun

    def _hosts_are_there(self) -> bool:
        return len(self.cloud.rows("placement", "inventories", "1=1", "DISTINCT provider_id")) == len(HOSTS)

    def _one(self, number: int) -> Any:
        return self.user.boot(f"s{number}", flavorRef=self.flavor, imageRef=self.image, networks="none")

    def check(self, *, active: int, refused: int) -> None:
        """So many run, so many were refused with a clear sentence, and everything that counts servers says so."""
        servers = self.user.get("/servers/detail?limit=1000")["servers"]
        states = Counter(server["status"] for server in servers)
        assert (states["ACTIVE"], states["ERROR"]) == (active, refused), (states, self._faults(servers))
        assert states.total() == active + refused
        assert self._faults(servers)[REFUSAL] == refused
        slots = active // len(HOSTS)
        used = self.cloud.rows("placement", "allocations", "1=1", "consumer_uuid, used")
        assert len({row[0] for row in used}) == active
        guests = [list((self.cloud.state_dir / "hosts" / host / "instances").glob("*-*")) for host in HOSTS]
        assert [len(found) for found in guests] == [slots] * len(HOSTS)
        hypervisors = self.admin.get("/os-hypervisors/detail", version="2.53")["hypervisors"]
        assert {one["service"]["host"]: one["vcpus_used"] for one in hypervisors} == dict.fromkeys(HOSTS, slots)
        assert {row[0] for row in self.cloud.rows("compute", "flow_journal", "1=1", "DISTINCT host")} == {*CONTROLLERS}
        self.until(lambda: self._answered_by() == {*CONTROLLERS}, "a part for both schedulers")

    def clear(self) -> None:
        """Delete all servers."""
        for server in self.user.get("/servers?limit=1000")["servers"]:
            assert self.user.ask("DELETE", f"/servers/{server['id']}").status_code == 204
        self.until(lambda: self.cloud.rows("placement", "allocations", "1=1", "used") == [], "the end of all claims")
        self.until(lambda: self.user.get("/servers")["servers"] == [], "the end of all servers")

    def check_services(self) -> None:
        """Each role beats for itself."""
        services = self.admin.get("/os-services")["services"]
        by_binary = {
            name: {one["host"] for one in services if one["binary"] == name and one["state"] == "up"}
            for name in ("nova-scheduler", "nova-conductor", "nova-compute")
        }
        both, hosts = {*CONTROLLERS}, {*HOSTS}
        assert by_binary == {"nova-scheduler": both, "nova-conductor": both, "nova-compute": hosts}

    def _answered_by(self) -> set[str]:
        """The hosts whose scheduler was asked, as traces say."""
        with closing(sqlite3.connect(self.cloud.state_dir / "db" / "trace.sqlite")) as file:
            return {row[0] for row in file.execute("SELECT DISTINCT host FROM hops_1 WHERE role = 'compute-scheduler'")}

    @staticmethod
    def _faults(servers: list[dict[str, Any]]) -> Counter[str]:
        return Counter(server["fault"]["message"] for server in servers if server["status"] == "ERROR")

    def until(self, probe: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not probe():
            assert time.monotonic() < deadline, f"waited in vain for {what}\n{self.cloud.log('compute-conductor@c1')}"
            time.sleep(0.1)
