"""The agent's promises, on the fake hypervisor: idempotent messages, generations, interruption, watchdog, recovery."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pileus.kernel.bus.messages import Message
from pileus.services.compute.drivers.hypervisor.fake import FakeHypervisor
from pileus.services.compute.rpc import (
    ConsoleLog,
    DescribeServer,
    DestroyServer,
    FlavorFacts,
    GuestEvent,
    ImageRef,
    ListGuests,
    PrepareServer,
    RebootServer,
    ReportHost,
    ServerSpec,
    StartServer,
    StopServer,
)
from pileus.services.compute.worker.agent import ComputeAgent
from pileus.services.compute.worker.build import Build
from pileus.services.compute.worker.config import AgentConfig
from pileus.services.compute.worker.faults import ServerFault
from pileus.services.compute.worker.hooks import IMAGINED_HOOKS
from pileus.services.compute.worker.reconcile import Reconciliation

WAIT_S = 10.0


class Blocker:
    """A hook that waits until it is let go, and remembers what was undone."""

    name = "blocker"

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.undone: list[str] = []

    async def apply(self, build: Build) -> None:
        self.entered.set()
        await self.go_on.wait()

    async def undo(self, build: Build) -> None:
        self.undone.append(build.spec.server_id)


class SlowUndo:
    """A hook whose first undo waits until it is let go."""

    name = "slow undo"

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    async def apply(self, build: Build) -> None: ...

    async def undo(self, build: Build) -> None:
        if not self.entered.is_set():
            self.entered.set()
            await self.go_on.wait()


class Refuser:
    """A hook that fails."""

    name = "refuser"

    async def apply(self, build: Build) -> None:
        raise ServerFault("no_space", "full")

    async def undo(self, build: Build) -> None: ...


class Host:
    """An agent on a fake hypervisor in a directory of its own."""

    def __init__(
        self, directory: Path, hypervisor: FakeHypervisor | None = None, *, hooks=IMAGINED_HOOKS, **config
    ) -> None:
        self.hypervisor = hypervisor or FakeHypervisor()
        self.told: list[Message] = []
        self.agent = ComputeAgent(
            host="h1", cloud="test", directory=directory, hypervisor=self.hypervisor, images=_no_images,
            notify=self._notify, config=AgentConfig(hypervisor="fake", **config), hooks=hooks,
        )
        self.reconciliation = Reconciliation(self.agent)

    async def _notify(self, message: Message) -> None:
        self.told.append(message)

    def events(self) -> list[str]:
        return [message.kind for message in self.told if isinstance(message, GuestEvent)]

    async def running(self, spec: ServerSpec, generation: int = 1) -> None:
        prepared = await self.agent.prepare(PrepareServer(generation=generation, spec=spec))
        assert prepared.fault is None
        assert prepared.prepared
        started = await self.agent.start(StartServer(server_id=spec.server_id, generation=generation))
        assert started.power_state == "running"


async def _no_images(image: ImageRef) -> AsyncIterator[bytes]:
    raise OSError("no image service here")
    yield b""


def new_spec(**changes) -> ServerSpec:
    return ServerSpec(str(uuid.uuid4()), "web", "p" * 32, FlavorFacts(vcpus=1, ram_mib=64, root_gib=1), **changes)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    made = Host(tmp_path)
    await made.agent.open()
    yield made
    await made.agent.close()


async def test_a_server_lives_and_leaves_nothing(host: Host, tmp_path: Path) -> None:
    spec = new_spec()
    await host.running(spec)
    text = await host.agent.console_log(ConsoleLog(server_id=spec.server_id, lines=1))
    assert text.output == "fake guest running\n"
    stopped = await host.agent.stop(StopServer(server_id=spec.server_id, generation=2, soft_timeout_s=5))
    assert (stopped.power_state, stopped.generation, stopped.root_device) == ("stopped", 2, "/dev/vda")
    gone = await host.agent.destroy(DestroyServer(server_id=spec.server_id, generation=3))
    assert (gone.power_state, gone.fault) == ("absent", None)
    assert list((tmp_path / "instances").iterdir()) == []
    assert await host.hypervisor.list_guests() == ()
    assert (await host.agent.describe(DescribeServer(server_id=spec.server_id))).power_state == "absent"


async def test_the_same_message_twice_is_harmless(host: Host) -> None:
    spec = new_spec()
    both = await asyncio.gather(*(host.agent.prepare(PrepareServer(generation=1, spec=spec)) for _ in range(2)))
    assert both[0] == both[1]
    start = StartServer(server_id=spec.server_id, generation=1)
    reports = await asyncio.gather(host.agent.start(start), host.agent.start(start))
    assert [report.power_state for report in reports] == ["running", "running"]
    assert host.hypervisor.starts == 1
    reboot = RebootServer(server_id=spec.server_id, generation=2, reboot_type="HARD")
    await host.agent.reboot(reboot)
    await host.agent.reboot(reboot)
    assert host.hypervisor.starts == 2
    destroy = DestroyServer(server_id=spec.server_id, generation=3)
    reports = await asyncio.gather(host.agent.destroy(destroy), host.agent.destroy(destroy))
    assert [report.fault for report in reports] == [None, None]


async def test_what_was_removed_by_hand_whole_is_let_go(host: Host, tmp_path: Path) -> None:
    spec = new_spec()
    await host.running(spec)
    await host.hypervisor.undefine(spec.server_id)
    shutil.rmtree(tmp_path / "instances" / spec.server_id)
    await host.reconciliation.run()
    assert (await host.agent.list_guests(ListGuests())).guests == ()
    assert list((tmp_path / "instances").iterdir()) == []


async def test_older_generations_are_refused_also_after_the_end(host: Host) -> None:
    spec = new_spec()
    await host.running(spec, generation=5)
    old = await host.agent.stop(StopServer(server_id=spec.server_id, generation=4))
    assert old.fault is not None
    assert old.fault.code == "stale_generation"
    assert old.generation == 5
    await host.agent.destroy(DestroyServer(server_id=spec.server_id, generation=6))
    late = await host.agent.prepare(PrepareServer(generation=5, spec=spec))
    assert late.fault is not None
    assert late.fault.code == "stale_generation"
    assert await host.hypervisor.list_guests() == ()


async def test_destroying_an_unknown_server_succeeds_and_bad_ids_are_refused(host: Host) -> None:
    assert (await host.agent.destroy(DestroyServer(server_id=str(uuid.uuid4()), generation=1))).fault is None
    for evil in ("../../etc", "", "x" * 36):
        report = await host.agent.destroy(DestroyServer(server_id=evil, generation=1))
        assert report.fault is not None
        assert report.fault.code == "unknown_server"


async def test_start_needs_a_prepared_server(host: Host) -> None:
    report = await host.agent.start(StartServer(server_id=str(uuid.uuid4()), generation=1))
    assert report.fault is not None
    assert report.fault.code == "unknown_server"


async def test_a_failing_hook_undoes_the_build_and_it_may_be_tried_again(tmp_path: Path) -> None:
    blocker = Blocker()
    blocker.go_on.set()
    host = Host(tmp_path, hooks=(*IMAGINED_HOOKS, blocker, Refuser()))
    await host.agent.open()
    spec = new_spec()
    report = await host.agent.prepare(PrepareServer(generation=1, spec=spec))
    assert report.fault is not None
    assert (report.fault.code, report.prepared) == ("no_space", False)
    assert blocker.undone == [spec.server_id]
    assert list((tmp_path / "instances").iterdir()) == []
    assert await host.hypervisor.list_guests() == ()
    host.agent.hooks = IMAGINED_HOOKS
    assert (await host.agent.prepare(PrepareServer(generation=1, spec=spec))).prepared


async def test_destroy_interrupts_a_build(tmp_path: Path) -> None:
    blocker = Blocker()
    host = Host(tmp_path, hooks=(*IMAGINED_HOOKS, blocker))
    await host.agent.open()
    spec = new_spec()
    building = asyncio.create_task(host.agent.prepare(PrepareServer(generation=1, spec=spec)))
    await asyncio.wait_for(blocker.entered.wait(), WAIT_S)
    gone = await asyncio.wait_for(host.agent.destroy(DestroyServer(server_id=spec.server_id, generation=2)), WAIT_S)
    assert gone.fault is None
    interrupted = await building
    assert interrupted.fault is not None
    assert interrupted.fault.code == "stale_generation"
    assert list((tmp_path / "instances").iterdir()) == []
    assert await host.hypervisor.list_guests() == ()


async def test_a_stop_interrupts_a_start_that_waits_for_its_slot(tmp_path: Path) -> None:
    host = Host(tmp_path, start_slots=1, silent_boot_s=60.0)
    await host.agent.open()
    first, second = new_spec(), new_spec()
    host.hypervisor.silent_starts = 1  # the first never speaks, and holds the only slot
    await host.running(first)
    await host.agent.prepare(PrepareServer(generation=1, spec=second))
    waiting = asyncio.create_task(host.agent.start(StartServer(server_id=second.server_id, generation=1)))
    await until(lambda: host.agent.busy(second.server_id))
    stopped = await host.agent.stop(StopServer(server_id=second.server_id, generation=2))
    assert stopped.power_state == "stopped"
    assert (await waiting).fault is not None
    await host.agent.stop(StopServer(server_id=first.server_id, generation=2))
    third = await host.agent.start(StartServer(server_id=second.server_id, generation=3))
    assert third.power_state == "running"
    await host.agent.close()


async def test_a_deaf_guest_is_powered_off_after_the_soft_timeout(host: Host) -> None:
    spec = new_spec()
    host.hypervisor.ignores_power_button = True
    await host.running(spec)
    stopped = await host.agent.stop(StopServer(server_id=spec.server_id, generation=2, soft_timeout_s=0.3))
    assert stopped.power_state == "stopped"
    await host.agent.start(StartServer(server_id=spec.server_id, generation=3))
    soft = RebootServer(server_id=spec.server_id, generation=4, reboot_type="SOFT", soft_timeout_s=0.3)
    assert (await host.agent.reboot(soft)).power_state == "running"


async def test_a_silent_guest_is_restarted_once(tmp_path: Path) -> None:
    host = Host(tmp_path, silent_boot_s=0.3)
    await host.agent.open()
    host.hypervisor.silent_starts = 1
    spec = new_spec()
    await host.running(spec)
    await until(lambda: host.events() == ["boot_restarted"])
    await until(lambda: not host.agent.boots.under_way(spec.server_id))
    assert (await host.agent.describe(DescribeServer(server_id=spec.server_id))).power_state == "running"
    assert host.hypervisor.starts == 2


async def test_a_guest_silent_twice_is_stopped_and_says_so(tmp_path: Path) -> None:
    host = Host(tmp_path, silent_boot_s=0.3)
    await host.agent.open()
    host.hypervisor.silent_starts = 2
    spec = new_spec()
    await host.running(spec)
    await until(lambda: host.events() == ["boot_restarted", "boot_failed"])
    report = await host.agent.describe(DescribeServer(server_id=spec.server_id))
    assert report.power_state == "stopped"
    assert report.fault is not None
    assert report.fault.code == "boot_silent"
    assert "pileus_silent_boot_s" in report.fault.message
    again = await host.agent.start(StartServer(server_id=spec.server_id, generation=2))
    assert (again.power_state, again.fault) == ("running", None)


async def test_an_image_may_say_that_it_is_silent(tmp_path: Path) -> None:
    host = Host(tmp_path, silent_boot_s=0.2)
    await host.agent.open()
    host.hypervisor.silent_starts = 1
    image = ImageRef(str(uuid.uuid4()), "raw", properties={"pileus_silent_boot_s": "0"})
    spec = new_spec(image=image)
    await host.running(spec)
    await until(lambda: not host.agent.boots.under_way(spec.server_id))
    assert host.events() == []


async def test_only_some_guests_boot_at_the_same_time(tmp_path: Path) -> None:
    host = Host(tmp_path, start_slots=2, silent_boot_s=60.0)
    await host.agent.open()
    host.hypervisor.silent_starts = 3
    specs = [new_spec() for _ in range(3)]
    for spec in specs:
        await host.agent.prepare(PrepareServer(generation=1, spec=spec))
    starts = [
        asyncio.create_task(host.agent.start(StartServer(server_id=spec.server_id, generation=1))) for spec in specs
    ]
    await until(lambda: sum(task.done() for task in starts) == 2)
    await asyncio.sleep(0.05)
    assert host.hypervisor.starts == 2
    speaking = next(spec for spec, task in zip(specs, starts, strict=True) if task.done())
    host.agent.paths.server(speaking.server_id).console_log.write_text("hello\n")
    await asyncio.wait_for(asyncio.gather(*starts), WAIT_S)
    assert host.hypervisor.starts == 3
    await host.agent.close()


async def test_a_failed_start_can_be_repeated(host: Host) -> None:
    spec = new_spec()
    await host.agent.prepare(PrepareServer(generation=1, spec=spec))
    host.hypervisor.fail_starts = 1
    failed = await host.agent.start(StartServer(server_id=spec.server_id, generation=1))
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.retryable) == ("driver_failed", True)
    assert (await host.agent.start(StartServer(server_id=spec.server_id, generation=1))).power_state == "running"


async def test_guests_that_stop_by_themselves_are_told_once(host: Host) -> None:
    spec, other = new_spec(), new_spec()
    await host.running(spec)
    await host.running(other)
    host.hypervisor.guest_powers_itself_off(spec.server_id)
    host.hypervisor.guest_crashes(other.server_id)
    await host.reconciliation.run()
    await host.reconciliation.run()
    assert host.events() == ["stopped_by_itself", "stopped_by_itself"]
    states = {event.server_id: event.power_state for event in host.told if isinstance(event, GuestEvent)}
    assert states == {spec.server_id: "stopped", other.server_id: "crashed"}


async def test_a_restarted_agent_starts_what_the_host_lost_and_only_that(tmp_path: Path) -> None:
    hypervisor = FakeHypervisor()
    before = Host(tmp_path, hypervisor)
    await before.agent.open()
    runs, stopped, deleted = new_spec(), new_spec(), new_spec()
    for spec in (runs, stopped, deleted):
        await before.running(spec)
    await before.agent.stop(StopServer(server_id=stopped.server_id, generation=2))
    await before.agent.destroy(DestroyServer(server_id=deleted.server_id, generation=2))
    await before.agent.close()
    hypervisor.lose_power()
    after = Host(tmp_path, hypervisor)
    await after.agent.open()
    await after.reconciliation.recover()
    assert after.events() == ["started"]
    states = {guest.server_id: guest.power_state for guest in await hypervisor.list_guests()}
    assert states == {runs.server_id: "running", stopped.server_id: "stopped"}
    late = await after.agent.prepare(PrepareServer(generation=1, spec=deleted))
    assert late.fault is not None
    await after.agent.close()


async def test_a_restarted_agent_leaves_running_guests_alone(tmp_path: Path) -> None:
    hypervisor = FakeHypervisor()
    before = Host(tmp_path, hypervisor)
    await before.agent.open()
    spec = new_spec()
    await before.running(spec)
    await before.agent.close()
    after = Host(tmp_path, hypervisor)
    await after.agent.open()
    await after.reconciliation.recover()
    assert after.events() == []
    assert hypervisor.starts == 1
    await after.agent.close()


async def test_a_build_cut_off_by_a_crash_is_undone_at_restart(tmp_path: Path) -> None:
    hypervisor, blocker = FakeHypervisor(), Blocker()
    before = Host(tmp_path, hypervisor, hooks=(*IMAGINED_HOOKS, blocker))
    await before.agent.open()
    spec = new_spec()
    asyncio.create_task(before.agent.prepare(PrepareServer(generation=1, spec=spec)))  # noqa: RUF006 - it never ends
    await asyncio.wait_for(blocker.entered.wait(), WAIT_S)
    after = Host(tmp_path, hypervisor)  # `before` is dead: nothing of it runs on
    await after.agent.open()
    await after.reconciliation.recover()
    assert list((tmp_path / "instances").iterdir()) == []
    assert await hypervisor.list_guests() == ()
    assert (await after.agent.prepare(PrepareServer(generation=1, spec=spec))).prepared


async def test_a_build_that_is_asked_for_again_meanwhile_is_not_undone(tmp_path: Path) -> None:
    """The conductor resumes its flow as soon as the agent listens, which is before the agent has looked round."""
    hypervisor, blocker = FakeHypervisor(), Blocker()
    before = Host(tmp_path, hypervisor, hooks=(*IMAGINED_HOOKS, blocker))
    await before.agent.open()
    spec = new_spec()
    asyncio.create_task(before.agent.prepare(PrepareServer(generation=1, spec=spec)))  # noqa: RUF006 - it never ends
    await until(blocker.entered.is_set)
    hypervisor.latency_s = 0.01
    slow = SlowUndo()
    after = Host(tmp_path, hypervisor, hooks=(*IMAGINED_HOOKS, slow))
    await after.agent.open()
    recovery = asyncio.create_task(after.reconciliation.recover())
    await until(slow.entered.is_set)
    build = asyncio.create_task(after.agent.prepare(PrepareServer(generation=1, spec=spec)))
    await asyncio.wait({build}, timeout=0.5)  # it may wait for the recovery, but must not lose to it
    slow.go_on.set()
    await recovery
    assert (await build).prepared
    started = await after.agent.start(StartServer(server_id=spec.server_id, generation=1))
    assert started.power_state == "running"


async def test_strangers_are_reported_and_can_be_destroyed(tmp_path: Path) -> None:
    hypervisor = FakeHypervisor()
    before = Host(tmp_path / "lost", hypervisor)
    await before.agent.open()
    spec = new_spec()
    await before.running(spec)
    host = Host(tmp_path / "new", hypervisor)
    await host.agent.open()
    await host.reconciliation.run()
    await host.reconciliation.run()
    assert host.events() == ["unknown_guest"]
    listed = (await host.agent.list_guests(ListGuests())).guests
    assert [(guest.server_id, guest.journaled, guest.power_state) for guest in listed] == [
        (spec.server_id, False, "running")
    ]
    await host.agent.destroy(DestroyServer(server_id=spec.server_id, generation=9))
    assert await hypervisor.list_guests() == ()


async def test_the_host_report_counts_and_lists(host: Host) -> None:
    spec = new_spec()
    await host.running(spec)
    first, second = await host.agent.report_host(ReportHost()), await host.agent.report_host(ReportHost())
    assert (first.sequence, second.sequence) == (1, 2)
    assert (first.hypervisor_type, first.vcpus) == ("fake", 64)
    assert [(guest.server_id, guest.power_state) for guest in first.guests] == [(spec.server_id, "running")]
    assert first.disk_gib >= first.disk_free_gib > 0


async def test_two_hundred_servers_at_once(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.agent.open()
    specs = [new_spec() for _ in range(200)]
    await asyncio.gather(*(host.running(spec) for spec in specs))
    assert {guest.power_state for guest in await host.hypervisor.list_guests()} == {"running"}
    await asyncio.gather(
        *(host.agent.destroy(DestroyServer(server_id=spec.server_id, generation=2)) for spec in specs)
    )
    assert list((tmp_path / "instances").iterdir()) == []
    assert len(host.agent._lanes) == 0
