"""libvirtd stands still, or a guest's emulator does: calls end, say so, cost nothing, and everything goes on after."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pileus.services.compute.drivers.hypervisor.interface import HypervisorTimeout
from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor, connection, driver
from pileus.services.compute.drivers.hypervisor.libvirt.calls import THREADS
from pileus.services.compute.rpc import (
    DescribeServer,
    DestroyServer,
    PrepareServer,
    RebootServer,
    ReportHost,
    ServerReport,
    StartServer,
    StopServer,
)
from pileus.services.compute.worker.reconcile import Reconciliation
from tests.scenario.bounded.bare_host import BareHost, Heartbeat, Stopped, until
from tests.scenario.compute_host.private_host import processes_with

pytestmark = pytest.mark.asyncio(loop_scope="module")

STANDSTILL_S = 2.0  # of the event loop; a loaded machine may hold it up for a moment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(state_dir: Path, hypervisor: LibvirtHypervisor) -> AsyncIterator[BareHost]:
    made = BareHost(state_dir, hypervisor)
    await made.agent.open()
    yield made
    await made.destroy_all()
    await made.agent.boots.close()
    await made.agent.images.close()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadlines of a minute, shortened: what they lead to is tested, not their length."""
    for name in ("START_TIMEOUT_S", "DEFINE_TIMEOUT_S", "LIST_TIMEOUT_S"):
        monkeypatch.setattr(driver, name, 8.0)
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 8.0)


def daemon_pid(host: BareHost) -> int:
    pid = host.hypervisor._daemon.pid
    assert pid is not None
    return pid


def fault_code(report: ServerReport) -> str | None:
    return report.fault.code if report.fault else None


async def test_a_silent_daemon_is_told_at_once_and_everything_goes_on_when_it_speaks(host: BareHost) -> None:
    agent = host.agent
    taps = [f"tap-hang-{number}" for number in range(4)]
    runs, stands, goes = [await host.prepared(tap) for tap in taps[:3]]
    new = host.new_spec(taps[3])
    for server_id in (runs, goes):
        await agent.start(StartServer(server_id=server_id, generation=1))
    with Stopped(daemon_pid(host)):
        async with Heartbeat() as heart:
            begun = time.monotonic()
            reports = await asyncio.gather(
                agent.start(StartServer(server_id=stands, generation=2)),
                agent.reboot(RebootServer(server_id=runs, generation=2, reboot_type="HARD")),
                agent.destroy(DestroyServer(server_id=goes, generation=2)),
                agent.prepare(PrepareServer(generation=1, spec=new)),
                agent.describe(DescribeServer(server_id=runs)),
            )
            assert [fault_code(report) for report in reports] == ["driver_timeout"] * 5
            assert reports[0].fault is not None
            assert reports[0].fault.message == "The hypervisor did not answer in time."
            assert "has not answered for" in reports[0].fault.detail + (reports[3].fault or reports[0].fault).detail
            assert time.monotonic() - begun < 60
            # From now on it is known: nobody waits a deadline again, and no thread is spent.
            hung, begun = host.hypervisor._connection.hung_calls, time.monotonic()
            assert hung <= THREADS
            with pytest.raises(HypervisorTimeout, match="has not answered"):
                await agent.report_host(ReportHost())
            for _ in range(3):
                again = agent.stop(StopServer(server_id=runs, generation=3, soft_timeout_s=0))
                assert fault_code(await again) == "driver_timeout"
            assert time.monotonic() - begun < 20
            assert host.hypervisor._connection.hung_calls == hung
        assert heart.longest_s < STANDSTILL_S
    # It speaks again: what was asked last is done, what was refused left nothing.
    await until(lambda: host.hypervisor._connection.hung_calls == 0)
    await Reconciliation(agent).run()
    assert (await agent.report_host(ReportHost())).host == "h1"
    await host.nothing_is_left(goes, taps[2])
    await host.nothing_is_left(new.server_id, taps[3])
    assert (await agent.stop(StopServer(server_id=runs, generation=4, soft_timeout_s=0))).power_state == "stopped"
    assert (await agent.start(StartServer(server_id=stands, generation=4))).power_state == "running"
    for server_id, tap in ((runs, taps[0]), (stands, taps[1])):
        assert (await agent.destroy(DestroyServer(server_id=server_id, generation=5))).fault is None
        await host.nothing_is_left(server_id, tap)


async def test_a_daemon_that_is_killed_while_it_hangs_is_replaced(host: BareHost) -> None:
    server_id = await host.prepared("tap-kill")
    pid = daemon_pid(host)
    with Stopped(pid):
        starting = asyncio.create_task(host.agent.start(StartServer(server_id=server_id, generation=1)))
        await until(lambda: host.agent.busy(server_id))
        os.kill(pid, signal.SIGKILL)
        report = await starting
    assert (report.fault, report.power_state) == (None, "running")
    assert daemon_pid(host) != pid
    assert (await host.agent.destroy(DestroyServer(server_id=server_id, generation=2))).fault is None
    await host.nothing_is_left(server_id, "tap-kill")


async def test_a_daemon_that_accepts_but_never_answers_costs_one_thread(host: BareHost) -> None:
    newcomer = LibvirtHypervisor(cloud="scenario", state_dir=host.agent.paths.root)
    with Stopped(daemon_pid(host)):
        outcomes = await asyncio.gather(*(newcomer.list_guests() for _ in range(30)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {HypervisorTimeout}
        begun = time.monotonic()
        with pytest.raises(HypervisorTimeout, match="has not answered"):
            await newcomer.list_guests()
        assert time.monotonic() - begun < 7
        assert newcomer._connection.hung_calls == 0
    assert isinstance(await newcomer.list_guests(), tuple)  # the attempt that was left waiting came through
    await newcomer.close()


async def test_guests_whose_emulators_hang_do_not_hold_others_up_and_can_be_ended(
    host: BareHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LIST_TIMEOUT_S", 45.0)
    agent, count = host.agent, 7  # more than the five requests of one client that libvirtd serves at once
    hung = {f"tap-qemu-{number}": await host.prepared(f"tap-qemu-{number}") for number in range(count)}
    well = await host.prepared("tap-well")
    for server_id in (*hung.values(), well):
        assert (await agent.start(StartServer(server_id=server_id, generation=1))).fault is None
    for server_id in hung.values():
        os.kill(host.emulator(server_id), signal.SIGSTOP)
    stops = [
        asyncio.create_task(agent.stop(StopServer(server_id=server_id, generation=2, soft_timeout_s=4)))
        for server_id in hung.values()
    ]
    begun = time.monotonic()
    others = await agent.stop(StopServer(server_id=well, generation=2, soft_timeout_s=0))
    assert (others.fault, others.power_state) == (None, "stopped")
    assert time.monotonic() - begun < 20
    assert len((await agent.report_host(ReportHost())).guests) == count + 1
    reports = await asyncio.gather(*stops)
    assert [(fault_code(report), report.power_state) for report in reports] == [(None, "stopped")] * count
    assert not [pid for server_id in hung.values() for pid in processes_with(f"-uuid {server_id}")]
    first = next(iter(hung.values()))
    await agent.start(StartServer(server_id=first, generation=3))
    os.kill(host.emulator(first), signal.SIGSTOP)
    for tap, server_id in hung.items():
        assert (await agent.destroy(DestroyServer(server_id=server_id, generation=4))).fault is None
        await host.nothing_is_left(server_id, tap)
    assert host.hypervisor._connection.hung_calls == 0
