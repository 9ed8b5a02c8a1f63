"""The disk of the whole cloud is full, databases and all: it says so, lives, and goes on when there is room."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator

import pytest

from tests.api.compute.actors import Shop
from tests.cloud import Cloud
from tests.scenario.bounded.disks import SmallDisk

MIB = 2**20
LONG_S = 150.0
FULL = "The disk of the cloud's database is full; nothing can be changed until there is room."


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path_factory.mktemp("host") / "state", 512 * MIB) as small:
        yield small


@pytest.fixture(scope="module")
def shop(disk: SmallDisk) -> Iterator[Shop]:
    with Cloud(disk.path / "cloud") as cloud:
        made = Shop(cloud)
        made.flavor = made.make_flavor("bounded", ram=64, vcpus=1, disk=0)
        yield made
        disk.free_up()


def refused(shop: Shop, disk: SmallDisk) -> str:
    """Ask for servers until the last free page of the database is used up; the text of the refusal."""
    deadline = time.monotonic() + LONG_S
    while True:
        disk.fill()
        answer = shop.try_boot("more")
        if answer.status_code == 503:
            return answer.json()["serviceUnavailable"]["message"]
        assert answer.status_code == 202, answer.text
        assert time.monotonic() < deadline


def ended(shop: Shop, count: int) -> None:
    """Every server is ACTIVE, or in ERROR with its reason, and nothing is being done."""
    deadline = time.monotonic() + LONG_S
    while True:
        servers = shop.user.get("/servers/detail")["servers"]
        if all(each["OS-EXT-STS:task_state"] is None and each["status"] in ("ACTIVE", "ERROR") for each in servers):
            break
        assert time.monotonic() < deadline, [(s["status"], s["OS-EXT-STS:task_state"]) for s in servers]
        time.sleep(0.2)
    assert len(servers) >= count
    assert [server["id"] for server in servers if server["status"] == "ERROR" and "fault" not in server] == []


def test_a_full_database_is_503_with_its_reason_and_goes_on_by_itself(shop: Shop, disk: SmallDisk) -> None:
    first = shop.boot("first")
    shop.user.until_status(first, "ACTIVE")
    assert refused(shop, disk) == FULL
    assert shop.user.server(first)["status"] == "ACTIVE"  # reading goes on
    refusals = [shop.user.ask("DELETE", f"/servers/{first}"), shop.user.network("POST", "/networks", {"network": {}})]
    assert [answer.status_code for answer in refusals] == [503, 503]
    assert FULL in refusals[1].text
    disk.free_up()
    ended(shop, 1)
    after = shop.boot("after")
    shop.user.until_status(after, "ACTIVE", timeout_s=LONG_S)
    shop.user.delete(first)
    shop.user.delete(after)


def test_servers_that_were_being_built_when_the_disk_filled_up_all_end(shop: Shop, disk: SmallDisk) -> None:
    asked = []
    for number in range(12):
        answer = shop.try_boot(f"burst{number}")
        if answer.status_code == 202:
            asked.append(answer.json()["server"]["id"])
        if number == 5:
            disk.fill()
    assert len(asked) >= 5
    time.sleep(3.0)  # for so long the disk stays full: flows meet it at any of their steps
    disk.free_up()
    ended(shop, len(asked))
    for server in shop.user.get("/servers")["servers"]:
        shop.user.delete(server["id"])
    deadline = time.monotonic() + LONG_S
    mine = f"/ports?network_id={shop.network}&device_owner=compute:nova"
    while (ports := shop.user.network("GET", mine).json())["ports"]:
        assert time.monotonic() < deadline, ports
        time.sleep(0.2)


def test_no_database_was_harmed(shop: Shop) -> None:
    files = list((shop.cloud.state_dir / "db").glob("*.sqlite"))
    assert len(files) >= 5
    for file in files:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
