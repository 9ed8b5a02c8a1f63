"""The compute agent: receives messages about servers, does the work on this host, keeps the journal.

Each server has one piece of work at a time. A stop interrupts a start that waits or boots; a destroy
interrupts anything. Work that was interrupted answers `stale_generation`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from pileus.kernel.bus.messages import Handler, Message
from pileus.services.compute import rpc
from pileus.services.compute.drivers.hypervisor.interface import (
    GuestNotFound,
    Hypervisor,
    HypervisorError,
    instance_name,
)
from pileus.services.compute.rpc import Fault, GuestEvent, ServerReport
from pileus.services.compute.worker import console, disk_room
from pileus.services.compute.worker.boot import Boots, rules_for
from pileus.services.compute.worker.build import Build, Hook, apply_all, undo_all
from pileus.services.compute.worker.config import AgentConfig
from pileus.services.compute.worker.download import ImageSource, Pace
from pileus.services.compute.worker.faults import EXPECTED, ServerFault, fault_of
from pileus.services.compute.worker.hooks import BUILD_HOOKS
from pileus.services.compute.worker.hooks.guest import root_device
from pileus.services.compute.worker.images import CachedImage, ImageCache
from pileus.services.compute.worker.journal import Journal, Record
from pileus.services.compute.worker.lanes import Lanes, Overtaken
from pileus.services.compute.worker.observed import observed
from pileus.services.compute.worker.paths import AgentPaths, is_uuid
from pileus.services.compute.worker.report import HostReporter

log = logging.getLogger(__name__)

MAX_SOFT_TIMEOUT_S: Final = 600.0
PRESS_AGAIN_S: Final = 10.0  # a guest that is still booting misses the power button
STOP_POLL_S: Final = 0.25

Work = Callable[[], Awaitable[ServerReport]]
Notify = Callable[[Message], Awaitable[None]]
"""Sends a `GuestEvent` to the conductor; may lose it."""

_REPLANNED: Final = (  # hooks that a newer PrepareServer of an existing server runs again; disks are kept
    "image", "taps", "guest",
)


_OVERTAKES: Final[dict[type[Message], frozenset[type[Message]]]] = {
    rpc.StopServer: frozenset({rpc.StartServer, rpc.RebootServer}),
    rpc.DestroyServer: frozenset({rpc.PrepareServer, rpc.StartServer, rpc.StopServer, rpc.RebootServer}),
}
"""Which work under way a message need not wait for, but cancels."""


class ComputeAgent:
    """One per host. `images` opens image downloads, `notify` reaches the conductor."""

    def __init__(
        self, *, host: str, cloud: str, directory: Path, hypervisor: Hypervisor, images: ImageSource, notify: Notify,
        config: AgentConfig, hooks: tuple[Hook, ...] = BUILD_HOOKS,
    ) -> None:
        self.host = host
        self.cloud = cloud
        self.hypervisor = hypervisor
        self.paths = AgentPaths(directory)
        self.journal = Journal(self.paths)
        pace = Pace(idle_s=config.image_idle_s, slowest_bytes_s=config.image_slowest_mib_s * disk_room.MIB)
        self.images = ImageCache(self.paths.base, images, pace)
        self.config = config
        self.hooks = hooks
        self.notify = notify
        self.reporter = HostReporter(self)
        self._lanes = Lanes()
        self._boots: Boots | None = None

    # -- life ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect to the hypervisor and read the journal. Raises HypervisorError, or OSError (a full disk).
        `Reconciliation.recover` comes next."""
        await asyncio.to_thread(self.paths.make)
        await asyncio.to_thread(self.images.discard_partial)
        await asyncio.to_thread(self.journal.load)
        await self.hypervisor.open()
        facts = await self.hypervisor.host_facts()
        self._boots = Boots(self.hypervisor, rules_for(self.config, facts.acceleration, facts.vcpus))
        log.info("hypervisor %s: %s, %s", facts.hypervisor_type, facts.acceleration.kind, facts.acceleration.reason)

    async def close(self) -> None:
        """Stop working; guests run on."""
        if self._boots is not None:
            await self._boots.close()
        await self.images.close()
        await self.hypervisor.close()

    @property
    def boots(self) -> Boots:
        """The boots under way. Only after `open`."""
        if self._boots is None:
            raise RuntimeError("the agent is not open")
        return self._boots

    def handlers(self) -> dict[type[Message], Handler]:
        """What to listen with on the agent's topic."""
        return {
            rpc.PrepareServer: self.prepare,
            rpc.StartServer: self.start,
            rpc.StopServer: self.stop,
            rpc.RebootServer: self.reboot,
            rpc.DestroyServer: self.destroy,
            rpc.DescribeServer: self.describe,
            rpc.ConsoleLog: self.console_log,
            rpc.ListGuests: self.list_guests,
            rpc.ReportHost: self.report_host,
        }

    # -- messages about one server ---------------------------------------------------------------------------

    async def prepare(self, message: rpc.PrepareServer) -> ServerReport:
        server_id = message.spec.server_id
        return await self._in_lane(server_id, message.generation, message, lambda: self._prepare(message))

    async def start(self, message: rpc.StartServer) -> ServerReport:
        return await self._in_lane(message.server_id, message.generation, message, lambda: self._start(message))

    async def stop(self, message: rpc.StopServer) -> ServerReport:
        return await self._in_lane(message.server_id, message.generation, message, lambda: self._stop(message))

    async def reboot(self, message: rpc.RebootServer) -> ServerReport:
        return await self._in_lane(message.server_id, message.generation, message, lambda: self._reboot(message))

    async def destroy(self, message: rpc.DestroyServer) -> ServerReport:
        return await self._in_lane(message.server_id, message.generation, message, lambda: self._destroy(message))

    async def describe(self, message: rpc.DescribeServer) -> ServerReport:
        try:
            return await self.state_of(message.server_id)
        except EXPECTED as error:
            return self._report(message.server_id, fault=fault_of(error))

    async def console_log(self, message: rpc.ConsoleLog) -> rpc.ConsoleText:
        record = self.journal.get(message.server_id)
        if record is None:
            return rpc.ConsoleText(message.server_id, "", Fault("unknown_server", "The server is not on this host."))
        lines = message.lines if message.lines is None else max(0, min(message.lines, rpc.MAX_CONSOLE_LINES))
        path = self.paths.server(message.server_id).console_log
        return rpc.ConsoleText(message.server_id, await asyncio.to_thread(console.tail, path, lines))

    async def list_guests(self, message: rpc.ListGuests) -> rpc.GuestList:
        return rpc.GuestList(self.host, await self.reporter.guests())

    async def report_host(self, message: rpc.ReportHost) -> rpc.HostReport:
        return await self.reporter.report()

    # -- lanes -----------------------------------------------------------------------------------------------

    def busy(self, server_id: str) -> bool:
        """Whether work for the server is under way."""
        return self._lanes.busy(server_id)

    async def undisturbed(self, server_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run work that no message asked for while none for the server is under way; the next ones wait."""
        await self._lanes.run(server_id, type(self), work, frozenset())

    async def _in_lane(
        self, server_id: str, generation: int, message: Message, work: Work
    ) -> ServerReport:
        """Run `work` after what the server has under way, or instead of it; refuse what is stale."""
        if not is_uuid(server_id):
            return self._report(server_id, fault=Fault("unknown_server", f"{server_id!r} is not a server id."))
        def refusal() -> Fault | None:
            return self._stale(server_id, generation, message)

        async def in_turn() -> ServerReport:
            if (fault := refusal()) is not None:
                return self._report(server_id, fault=fault)
            return await self._guarded(server_id, work)

        overtakes = _OVERTAKES.get(type(message), frozenset()) if refusal() is None else frozenset()
        try:
            return await self._lanes.run(server_id, type(message), in_turn, overtakes)
        except Overtaken:
            text = "A newer request for this server came first."
            return self._report(server_id, fault=Fault("stale_generation", text))

    async def _guarded(self, server_id: str, work: Work) -> ServerReport:
        try:
            return await work()
        except EXPECTED as error:
            fault = fault_of(error)
            if fault.code == "no_space" and not isinstance(error, ServerFault):
                fault = disk_room.refusal(self.paths.root, 0, "working for the server").fault
            log.warning("server %s: %s: %s %s", server_id, fault.code, fault.message, fault.detail)
            return self._report(server_id, fault=fault)

    def _stale(self, server_id: str, generation: int, message: Message) -> Fault | None:
        record, destroyed = self.journal.get(server_id), self.journal.destroyed_at(server_id)
        if record is not None and generation < record.generation:
            return Fault("stale_generation", f"Generation {generation} is older than {record.generation}.")
        if destroyed is not None and generation <= destroyed and not isinstance(message, rpc.DestroyServer):
            return Fault("stale_generation", f"The server was destroyed at generation {destroyed}.")
        return None

    # -- work ------------------------------------------------------------------------------------------------

    async def _prepare(self, message: rpc.PrepareServer) -> ServerReport:
        spec, generation = message.spec, message.generation
        known = self.journal.get(spec.server_id)
        if known is not None and known.phase == "prepared":
            return await self._prepare_again(known, message)
        build = self.build_of(Record(generation=generation, phase="preparing", desired="stopped", spec=spec))
        if known is not None:
            await undo_all(self.hooks, build)  # left by an interrupted attempt
        directory, *hooks = self.hooks
        disk_room.require(self.paths.instances, disk_room.MIN_BUILD_BYTES, "a new server")
        try:
            await directory.apply(build)
            record = self.journal.save(
                Record(generation=generation, phase="preparing", desired="stopped", spec=spec)
            )
            await apply_all(tuple(hooks), build)
            self.journal.save(_with_images(record, build, phase="prepared"))
        except (*EXPECTED, asyncio.CancelledError):
            await undo_all(self.hooks, build)
            self.journal.forget(spec.server_id)
            raise
        return await self.state_of(spec.server_id)

    async def _prepare_again(self, known: Record, message: rpc.PrepareServer) -> ServerReport:
        """A repeated message changes nothing; a newer one applies its network cards and definition, and keeps
        the disks."""
        if message.generation > known.generation:
            newer = msgspec.structs.replace(known, generation=message.generation, spec=message.spec)
            build = self.build_of(newer)
            await self._apply(build, *_REPLANNED)
            self.journal.save(_with_images(newer, build, phase="prepared"))
        return await self.state_of(known.server_id)

    async def _start(self, message: rpc.StartServer) -> ServerReport:
        record = self._accepted(message.server_id, message.generation, desired="running")
        guest = await self.hypervisor.inspect(record.server_id)
        if guest is None or guest.power_state != "running":
            await self.boot(record)
        return await self.state_of(record.server_id)

    async def _stop(self, message: rpc.StopServer) -> ServerReport:
        record = self._accepted(message.server_id, message.generation, desired="stopped")
        await self.boots.forget(record.server_id)
        with observed("end guest", record.server_id):
            await self._end_guest(record.server_id, message.soft_timeout_s)
        return await self.state_of(record.server_id)

    async def _reboot(self, message: rpc.RebootServer) -> ServerReport:
        record = self._accepted(message.server_id, message.generation, desired="running")
        if record.rebooted < message.generation:
            await self.boots.forget(record.server_id)
            with observed("end guest", record.server_id):
                soft_timeout_s = message.soft_timeout_s if message.reboot_type == "SOFT" else 0.0
                await self._end_guest(record.server_id, soft_timeout_s)
            await self.boot(record)
            self.journal.save(msgspec.structs.replace(record, rebooted=message.generation))
        return await self.state_of(record.server_id)

    async def _destroy(self, message: rpc.DestroyServer) -> ServerReport:
        server_id, generation = message.server_id, message.generation
        record = self.journal.get(server_id)
        if record is not None:
            going = msgspec.structs.replace(record, generation=generation, phase="destroying")
            try:
                record = self.journal.save(going)
            except OSError as error:  # a full disk: deleting is what helps it
                log.warning("server %s: the journal cannot be written: %s; destroyed all the same", server_id, error)
                record = going
        await self.finish_destroy(server_id, generation, record)
        return self._report(server_id)

    # -- parts that reconciliation shares --------------------------------------------------------------------

    def build_of(self, record: Record) -> Build:
        """What hooks work on, for a server in the journal."""
        paths = self.paths.server(record.server_id)
        build = Build(self.cloud, record.generation, record.spec, paths, self.images, self.hypervisor)
        build.base, build.kernel, build.ramdisk = (
            self._cached(name) for name in (record.base, record.kernel, record.ramdisk)
        )
        return build

    async def boot(self, record: Record) -> None:
        """Start the guest of a prepared server, having made sure of its taps (a host restart loses them)."""
        build = self.build_of(record)
        await self._apply(build, "taps")
        if await self.hypervisor.inspect(record.server_id) is None:
            await self._apply(build, "guest")

        async def tell(kind: str, fault: Fault | None) -> None:
            await self._boot_event(record.server_id, kind, fault)

        await self.boots.start(record.spec, build.paths.console_log, tell)

    async def _apply(self, build: Build, *names: str) -> None:
        await apply_all(tuple(hook for hook in self.hooks if hook.name in names), build)

    async def finish_destroy(self, server_id: str, generation: int, record: Record | None) -> None:
        """Remove everything of a server from this host, then remember that it is gone."""
        await self.boots.forget(server_id)
        nothing = rpc.ServerSpec(server_id, "", "", rpc.FlavorFacts(vcpus=1, ram_mib=1))
        unknown = Record(generation=generation, phase="destroying", desired="stopped", spec=nothing)
        await undo_all(self.hooks, self.build_of(record or unknown))
        self.journal.mark_destroyed(server_id, generation)

    async def state_of(self, server_id: str) -> ServerReport:
        """The server as journal and hypervisor have it now. Raises HypervisorError."""
        guest = await self.hypervisor.inspect(server_id) if is_uuid(server_id) else None
        record = self.journal.get(server_id)
        return self._report(
            server_id, power_state=guest.power_state if guest else "absent", fault=record.fault if record else None
        )

    # -- details ---------------------------------------------------------------------------------------------

    def _accepted(self, server_id: str, generation: int, *, desired: Any) -> Record:
        """Journal the new intent of a prepared server."""
        record = self.journal.get(server_id)
        if record is None:
            raise ServerFault("unknown_server", "The server is not on this host.")
        if record.phase != "prepared":
            raise ServerFault("not_prepared", "The server has not been prepared on this host.")
        return self.journal.save(msgspec.structs.replace(record, generation=generation, desired=desired, fault=None))

    async def _end_guest(self, server_id: str, soft_timeout_s: float) -> None:
        """Power off: by the button for as long as `soft_timeout_s`, then by force."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(max(soft_timeout_s, 0.0), MAX_SOFT_TIMEOUT_S)
        press_at = loop.time()
        while (now := loop.time()) < deadline:
            guest = await self.hypervisor.inspect(server_id)
            if guest is None or guest.power_state not in ("running", "paused"):
                return
            if now >= press_at:
                press_at = now + PRESS_AGAIN_S
                if not await self._button_pressed(server_id):
                    break
            await asyncio.sleep(STOP_POLL_S)
        if await self.hypervisor.inspect(server_id) is not None:
            await self.hypervisor.power_off(server_id)

    async def _button_pressed(self, server_id: str) -> bool:
        """False for a guest that cannot even be asked, because its emulator hangs: only force helps."""
        try:
            await self.hypervisor.press_power_button(server_id)
        except GuestNotFound:
            raise
        except HypervisorError as error:
            log.warning("server %s: its power button cannot be pressed (%s); ended by force", server_id, error)
            return False
        return True

    async def _boot_event(self, server_id: str, kind: Any, fault: Fault | None) -> None:
        record = self.journal.get(server_id)
        if record is None:
            return
        if fault is not None:
            record = self.journal.save(msgspec.structs.replace(record, desired="stopped", fault=fault))
        await self.tell_event(record, kind, "stopped" if fault else "running", fault)

    async def tell_event(
        self, record: Record, kind: rpc.GuestEventKind, power_state: rpc.PowerState, fault: Fault | None = None
    ) -> None:
        """Tell the conductor that a guest changed by itself."""
        await self.notify(
            GuestEvent(
                host=self.host, server_id=record.server_id, generation=record.generation, kind=kind,
                power_state=power_state, fault=fault,
            )
        )

    def _cached(self, name: str | None) -> CachedImage | None:
        if name is None:
            return None
        path = self.images.path(name)
        return CachedImage(path, path.stat().st_size) if path.exists() else None

    def _report(
        self, server_id: str, *, power_state: rpc.PowerState = "absent", fault: Fault | None = None
    ) -> ServerReport:
        record = self.journal.get(server_id)
        generation = record.generation if record else self.journal.destroyed_at(server_id) or 0
        return ServerReport(
            server_id, self.host, generation, power_state, prepared=record is not None and record.phase == "prepared",
            instance_name=instance_name(server_id), root_device=root_device(record.spec) if record else "", fault=fault,
        )


def _with_images(record: Record, build: Build, *, phase: Any) -> Record:
    names = (image.name if image else None for image in (build.base, build.kernel, build.ramdisk))
    base, kernel, ramdisk = names
    return msgspec.structs.replace(record, phase=phase, base=base, kernel=kernel, ramdisk=ramdisk)
