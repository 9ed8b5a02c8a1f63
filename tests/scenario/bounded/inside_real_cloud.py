"""What a user is told, and what is left, when the host's disk is full, its libvirtd hangs or the image store does.

A whole cloud with real libvirtd, disks and devices (only the networks behind the devices are imagined).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor, driver
from pileus.services.compute.worker.agent import ComputeAgent
from tests.api.compute.actors import Shop, make_image
from tests.cloud import FAKE_DRIVERS, Cloud
from tests.scenario.bounded.bare_host import HANGING_SECTOR, Stopped
from tests.scenario.bounded.disks import SlowFile, SmallDisk
from tests.scenario.bounded.hostile import unpacks_to
from tests.scenario.compute_host.private_host import processes_with

MIB = 2**20
DISK_BYTES = 3 * 2**30
IDLE_S = 3.0
LONG_S = 150.0
BARE = HANGING_SECTOR.ljust(MIB, b"\0")


@pytest.fixture(scope="module", autouse=True)
def impatience() -> Iterator[None]:
    """The deadlines of a minute, shortened: what they lead to is tested, not their length."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("START_TIMEOUT_S", "DEFINE_TIMEOUT_S", "LIST_TIMEOUT_S", "POWER_OFF_TIMEOUT_S"):
            patch.setattr(driver, name, 15.0)
        yield


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path_factory.mktemp("host") / "servers", DISK_BYTES) as small:
        yield small


@pytest.fixture(scope="module")
def shop(disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    agent = {
        "hypervisor": "libvirt", "instances_dir": str(disk.path), "silent_boot_s": 0.0, "start_slots": 16,
        "image_idle_s": IDLE_S, "report_interval_s": 2.0, "reconcile_interval_s": 1.0,
    }
    tables: dict[str, Any] = {**FAKE_DRIVERS, "compute": {"agent": agent}}
    with Cloud(tmp_path_factory.mktemp("cloud"), tables=tables) as cloud:
        made = Shop(cloud)
        made.flavor = made.make_flavor("bounded", ram=64, vcpus=1, disk=0)  # as large as the image
        yield made
        for server in made.admin.get("/servers?all_tenants=1")["servers"]:
            made.admin.delete(server["id"])
        hypervisor = agent_of(made).hypervisor
        assert isinstance(hypervisor, LibvirtHypervisor)
        assert cloud.run(hypervisor.stop_daemon())


def agent_of(shop: Shop) -> ComputeAgent:
    assert shop.cloud.node is not None
    return shop.cloud.node.runtimes["compute"].get(ComputeAgent)


def libvirtd(shop: Shop) -> int:
    hypervisor = agent_of(shop).hypervisor
    assert isinstance(hypervisor, LibvirtHypervisor)
    pid = hypervisor._daemon.pid
    assert pid is not None
    return pid


def new_image(shop: Shop, content: bytes = BARE, **values: Any) -> str:
    """Its own each time, so that no cache helps."""
    return make_image(shop.cloud, shop.admin.token, "bare", content=content, visibility="public", **values)


def failed(shop: Shop, server_id: str) -> str:
    """The fault's text of a server that ends in ERROR, as its owner reads it, and in its actions."""
    shown = shop.user.until_status(server_id, "ERROR", timeout_s=LONG_S)
    action = shop.user.get(f"/servers/{server_id}/os-instance-actions")["instanceActions"][0]
    assert (action["action"], action["message"]) == ("create", "Error")
    return shown["fault"]["message"]


def nothing_is_left(shop: Shop, *server_ids: str) -> None:
    """No files, half images, devices, definitions, processes, ports or claims."""
    agent = agent_of(shop)
    for server_id in server_ids:
        assert not agent.paths.server(server_id).directory.exists()
        assert processes_with(f"-uuid {server_id}") == []
        assert shop.cloud.run(agent.hypervisor.inspect(server_id)) is None
        ports = shop.admin.network("GET", f"/ports?device_id={server_id}")
        assert ports.json()["ports"] == []
        claims = shop.cloud.request("GET", f"/placement/allocations/{server_id}", token=shop.admin.token)
        assert claims.json()["allocations"] == {}
    assert [path for path in agent.paths.base.iterdir() if path.name.startswith(".")] == []
    running = {record.server_id for record in agent.journal.all()}
    marks = [Path(link, "ifalias").read_text() for link in Path("/sys/class/net").iterdir()]
    assert [mark for mark in marks if any(server_id in mark for server_id in server_ids)] == []
    assert not running & set(server_ids)


def eventually_nothing_is_left(shop: Shop, *server_ids: str) -> None:
    deadline = time.monotonic() + LONG_S
    while True:
        try:
            return nothing_is_left(shop, *server_ids)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


# -- a full disk -------------------------------------------------------------------------------------------------------


def test_a_build_on_a_full_disk_says_so_and_leaves_nothing(shop: Shop, disk: SmallDisk) -> None:
    disk.fill(leaving=8 * MIB)
    server_id = shop.boot("full")
    text = failed(shop, server_id)
    assert "The compute host's disk for servers is full (a new server needs 16 MiB, 0 MiB free)." in text
    nothing_is_left(shop, server_id)
    disk.free_up()
    shop.user.delete(server_id)
    works = shop.boot("works", imageRef=new_image(shop))
    shop.user.until_status(works, "ACTIVE", timeout_s=LONG_S)
    shop.user.delete(works)
    nothing_is_left(shop, works)


def test_an_image_that_does_not_fit_leaves_the_reserve_and_no_piece_of_itself(shop: Shop, disk: SmallDisk) -> None:
    image = new_image(shop, os.urandom(80 * MIB))
    disk.fill(leaving=120 * MIB)  # 2 % of 3 GiB are the reserve
    server_id = shop.boot("big", imageRef=image)
    text = failed(shop, server_id)
    assert re.search(r"disk for servers is full \(the rest of the image needs \d\d MiB, [012] MiB free\)", text), text
    nothing_is_left(shop, server_id)
    disk.free_up()


def test_an_image_that_unpacks_to_a_full_disk_is_stopped_before(shop: Shop, disk: SmallDisk) -> None:
    image = new_image(shop, unpacks_to(64 * 2**30), disk_format="qcow2")
    disk.fill(leaving=600 * MIB)
    before = lowest = disk.free
    server_id = shop.boot("bomb", imageRef=image)
    deadline = time.monotonic() + LONG_S
    while shop.user.server(server_id)["status"] == "BUILD":
        lowest = min(lowest, disk.free)
        assert time.monotonic() < deadline
    assert "disk for servers is full (while unpacking the image" in failed(shop, server_id)
    assert lowest < before / 2  # it did unpack
    nothing_is_left(shop, server_id)
    assert disk.free > 0.9 * before
    disk.free_up()


# -- a silent libvirtd -------------------------------------------------------------------------------------------------


def test_a_silent_libvirtd_is_told_to_users_and_everything_converges_after(shop: Shop) -> None:
    runs = shop.boot("runs", imageRef=new_image(shop))
    goes = shop.boot("goes", imageRef=new_image(shop))
    for server_id in (runs, goes):
        shop.user.until_status(server_id, "ACTIVE", timeout_s=LONG_S)
    new = shop.boot("new", imageRef=new_image(shop))
    with Stopped(libvirtd(shop)):
        late = shop.boot("late", imageRef=new_image(shop))
        assert shop.user.act(runs, "os-stop").status_code == 202
        assert shop.user.ask("DELETE", f"/servers/{goes}").status_code == 204
        slowest = 0.0
        deadline = time.monotonic() + LONG_S
        waiting = {late, runs}
        while waiting:
            begun = time.monotonic()
            shown = {server_id: shop.user.server(server_id) for server_id in waiting}
            slowest = max(slowest, time.monotonic() - begun)
            waiting -= {name for name, server in shown.items() if server["OS-EXT-STS:task_state"] is None}
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)
        assert slowest < 2.0  # the API answers as ever
        assert "The hypervisor did not answer in time." in failed(shop, late)
        assert shop.user.server(runs)["status"] == "ACTIVE"  # it could not be stopped, and its action says why
        action = shop.user.get(f"/servers/{runs}/os-instance-actions")["instanceActions"][0]
        assert (action["action"], action["message"]) == ("stop", "Error")
    shop.user.until_gone(goes, LONG_S)
    shop.user.until_status(new, "ACTIVE", "ERROR", timeout_s=LONG_S)
    shop.wait_for_host()
    eventually_nothing_is_left(shop, goes, late)
    assert shop.user.act(runs, "os-stop").status_code == 202
    shop.user.until_status(runs, "SHUTOFF", timeout_s=LONG_S)
    for server_id in (runs, new, late):
        shop.user.delete(server_id)
    eventually_nothing_is_left(shop, runs, new)


# -- a slow image store ------------------------------------------------------------------------------------------------


def stored_file(shop: Shop, size: int) -> Path:
    """The store's file of the one image of that size."""
    directory = shop.cloud.state_dir / "image" / "images"
    (found,) = [path for path in directory.iterdir() if path.stat().st_size == size]
    return found


def test_a_store_that_hangs_fails_all_who_wait_for_it_by_name_and_serves_the_next(shop: Shop) -> None:
    size = 7 * MIB
    image = new_image(shop, HANGING_SECTOR + os.urandom(size - len(HANGING_SECTOR)))
    with SlowFile(stored_file(shop, size)) as slow:
        slow.hang()
        server_ids = [shop.boot(f"waits{number}", imageRef=image) for number in range(3)]
        for server_id in server_ids:
            text = failed(shop, server_id)
            assert f"The image service did not deliver image {image}: it sent nothing for 3 s, after 0 MiB of" in text
        nothing_is_left(shop, *server_ids)
        slow.go_on()
        works = shop.boot("works", imageRef=image)
        shop.user.until_status(works, "ACTIVE", timeout_s=LONG_S)
        for server_id in (*server_ids, works):
            shop.user.delete(server_id)


def test_deleting_a_server_ends_the_download_that_only_it_waits_for(shop: Shop) -> None:
    size = 9 * MIB
    image = new_image(shop, HANGING_SECTOR + os.urandom(size - len(HANGING_SECTOR)))
    base = agent_of(shop).paths.base
    with SlowFile(stored_file(shop, size), bytes_per_s=MIB) as _slow:
        server_id = shop.boot("patient", imageRef=image)
        deadline = time.monotonic() + LONG_S
        while not [path for path in base.iterdir() if path.name.startswith(f".{image}")]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        shop.user.delete(server_id)
        eventually_nothing_is_left(shop, server_id)
        assert agent_of(shop).images._fetching == {}
