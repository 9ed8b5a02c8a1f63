"""An agent whose disk is full to the last byte: no guest is lost, nothing is half done, deleting still works."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import pytest_asyncio

from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor
from pileus.services.compute.rpc import DescribeServer, DestroyServer, PrepareServer, StartServer, StopServer
from pileus.services.compute.worker import console
from pileus.services.compute.worker.journal import Journal
from pileus.services.compute.worker.reconcile import Reconciliation
from tests.scenario.bounded.bare_host import WRITING_SECTOR, BareHost, until
from tests.scenario.bounded.disks import SmallDisk

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 2**20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path_factory.mktemp("small") / "servers", 512 * MIB) as small:
        yield small


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(disk: SmallDisk, hypervisor: LibvirtHypervisor) -> AsyncIterator[BareHost]:
    made = BareHost(disk.path, hypervisor)
    await made.agent.open()
    yield made
    disk.free_up()
    await made.destroy_all()
    await made.agent.boots.close()
    await made.agent.images.close()


async def running(host: BareHost, tap: str) -> str:
    server_id = await host.prepared(tap)
    report = await host.agent.start(StartServer(server_id=server_id, generation=1))
    assert (report.fault, report.power_state) == (None, "running")
    return server_id


async def test_what_cannot_be_journaled_is_not_done_and_no_guest_is_lost(host: BareHost, disk: SmallDisk) -> None:
    server_id = await running(host, "tap-full")
    journal = host.agent.paths.server(server_id).journal
    before, pid = journal.read_bytes(), host.emulator(server_id)
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        (disk.path / "proof").write_bytes(b"x" * 8192)
    refused = await host.agent.stop(StopServer(server_id=server_id, generation=2, soft_timeout_s=0))
    assert refused.fault is not None
    assert (refused.fault.code, refused.fault.retryable) == ("no_space", True)
    assert "disk for servers is full" in refused.fault.message
    new = await host.agent.prepare(PrepareServer(generation=1, spec=host.new_spec("tap-none")))
    assert new.fault is not None
    assert new.fault.code == "no_space"
    assert host.emulator(server_id) == pid
    assert journal.read_bytes() == before
    reread = Journal(host.agent.paths)  # what an agent that starts now would know
    reread.load()
    assert {record.server_id for record in reread.all()} == {server_id}
    assert (await host.agent.describe(DescribeServer(server_id=server_id))).power_state == "running"
    (disk.path / "proof").unlink(missing_ok=True)
    disk.free_up()
    stopped = await host.agent.stop(StopServer(server_id=server_id, generation=2, soft_timeout_s=0))
    assert (stopped.fault, stopped.power_state) == (None, "stopped")


async def test_deleting_works_on_a_full_disk(host: BareHost, disk: SmallDisk) -> None:
    server_id = await running(host, "tap-gone")
    disk.fill()
    gone = await host.agent.destroy(DestroyServer(server_id=server_id, generation=2))
    assert gone.fault is None, gone.fault
    await host.nothing_is_left(server_id, "tap-gone")
    late = await host.agent.start(StartServer(server_id=server_id, generation=1))
    assert late.fault is not None
    disk.free_up()


async def test_a_guest_that_fills_the_disk_waits_for_room_and_goes_on(host: BareHost, disk: SmallDisk) -> None:
    host.sector, host.image = WRITING_SECTOR, msgspec.structs.replace(host.image, id=str(uuid.uuid4()))
    spec = host.new_spec("tap-writes", root_gib=1)
    server_id, root = spec.server_id, host.agent.paths.server(spec.server_id).root_disk
    assert (await host.agent.prepare(PrepareServer(generation=1, spec=spec))).fault is None
    assert (await host.agent.start(StartServer(server_id=server_id, generation=1))).fault is None
    pid = host.emulator(server_id)
    begun = root.stat().st_blocks
    await until(lambda: root.stat().st_blocks > begun + 200)  # it writes
    disk.fill()
    await until_power(host, server_id, "paused")
    full = root.stat().st_blocks
    await Reconciliation(host.agent).run()  # no room yet: it is left alone
    assert (await host.agent.describe(DescribeServer(server_id=server_id))).power_state == "paused"
    disk.free_up()
    await Reconciliation(host.agent).run()
    await until(lambda: root.stat().st_blocks > full + 200)  # it writes on
    assert host.emulator(server_id) == pid
    assert (await host.agent.destroy(DestroyServer(server_id=server_id, generation=2))).fault is None
    await host.nothing_is_left(server_id, "tap-writes")


async def until_power(host: BareHost, server_id: str, wanted: str) -> None:
    async with asyncio.timeout(120):
        while (await host.agent.describe(DescribeServer(server_id=server_id))).power_state != wanted:
            await asyncio.sleep(0.1)


async def test_a_long_console_log_is_cut_on_a_full_disk_and_only_its_end_is_ever_read(disk: SmallDisk) -> None:
    log = disk.path / "console.log"
    with log.open("wb") as file:
        file.truncate(2**30)  # a gigabyte, of holes
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe end\n")
    assert console.tail(log, 1) == "the end\n"
    disk.fill()
    assert console.bound(log)
    assert log.stat().st_size == 0
    assert not list(disk.path.glob("console.log.new"))
    disk.free_up()
    for path in disk.path.glob("console.log*"):
        path.unlink()
