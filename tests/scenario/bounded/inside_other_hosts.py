"""Two hosts, one with a full disk: what does not fit there is built on the other."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.kernel.bus.messages import Message
from pileus.services.compute.drivers.hypervisor.fake import FakeHypervisor
from pileus.services.compute.rpc import CONDUCTOR_TOPIC, ImageRef, agent_topic
from pileus.services.compute.worker.agent import ComputeAgent
from pileus.services.compute.worker.config import AgentConfig
from pileus.services.compute.worker.hooks import IMAGINED_HOOKS
from tests.api.compute.actors import Shop
from tests.cloud import FAKE_DRIVERS, Cloud
from tests.scenario.bounded.disks import SmallDisk

MIB = 2**20
FIRST, SECOND = "test-host", "second-host"
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path_factory.mktemp("host") / "servers", 1536 * MIB) as small:
        yield small


@pytest.fixture(scope="module")
def shop(disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    agent = {"hypervisor": "fake", "instances_dir": str(disk.path)}
    by_memory = {"disk_weight_multiplier": 0.0, "cpu_weight_multiplier": 0.0, "build_weight_multiplier": 0.0}
    tables: dict[str, Any] = {**FAKE_DRIVERS, "compute": {"agent": agent, "scheduler": by_memory}}
    with Cloud(tmp_path_factory.mktemp("cloud"), tables=tables) as cloud:
        made = Shop(cloud)
        made.flavor = made.make_flavor("bounded", ram=64, vcpus=1, disk=0)
        cloud.run(second_host(cloud, tmp_path_factory.mktemp("second")))
        yield made


async def second_host(cloud: Cloud, directory: Path) -> None:
    """A smaller host with room on its disk, in the same process."""
    assert cloud.node is not None
    node = cloud.node

    async def no_image(image: ImageRef) -> AsyncIterator[bytes]:
        yield b""

    async def notify(message: Message) -> None:
        await node.bus.cast(CONDUCTOR_TOPIC, message)

    agent = ComputeAgent(
        host=SECOND, cloud="second", directory=directory, hypervisor=FakeHypervisor(vcpus=8, ram_mib=4096),
        images=no_image, notify=notify, config=AgentConfig(hypervisor="fake"), hooks=IMAGINED_HOOKS,
    )
    await agent.open()
    node.bus.listen(agent_topic(SECOND), agent.handlers())

    async def report() -> None:
        await notify(await agent.reporter.report())

    node.runtimes["compute"].every(1.0, report, name="second host report")


def host_of(shop: Shop, server_id: str) -> str:
    return shop.admin.server(server_id)["OS-EXT-SRV-ATTR:host"]


def test_a_host_whose_disk_is_full_is_left_for_the_next(shop: Shop, disk: SmallDisk) -> None:
    deadline = time.monotonic() + LIMIT_S
    while len(shop.admin.get("/os-hypervisors")["hypervisors"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    before = shop.boot("before", networks="none")
    shop.user.until_status(before, "ACTIVE")
    assert host_of(shop, before) == FIRST  # the one with more memory is chosen first
    disk.fill(leaving=8 * MIB)
    moved = shop.boot("moved", networks="none")
    shop.user.until_status(moved, "ACTIVE")
    assert host_of(shop, moved) == SECOND
    assert not (disk.path / "instances" / moved).exists()
    claims = shop.cloud.request("GET", f"/placement/allocations/{moved}", token=shop.admin.token).json()["allocations"]
    providers = {each["hypervisor_hostname"]: each["id"] for each in shop.admin.get("/os-hypervisors")["hypervisors"]}
    assert set(claims) == {providers[SECOND]}  # the first host's claim was given back
    disk.free_up()
    for server_id in (before, moved):
        shop.user.delete(server_id)
