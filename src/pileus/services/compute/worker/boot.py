"""Starting guests: a few at a time, and watched until they speak.

Emulated guests share the host's processors badly: many booting at once take ten times as long each, and a
kernel that calibrates its clock meanwhile may hang for ever, silently. So only some guests boot at the same
time; a booting guest holds its slot until its console has spoken and gone quiet. A guest that never speaks is
restarted once, then stopped, and its server says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from pileus.services.compute.drivers.hypervisor.interface import Hypervisor
from pileus.services.compute.rpc import Acceleration, Fault, ServerSpec
from pileus.services.compute.worker import console
from pileus.services.compute.worker.config import AgentConfig
from pileus.services.compute.worker.faults import EXPECTED
from pileus.services.compute.worker.observed import observed

log = logging.getLogger(__name__)

EMULATED_SLOTS: Final = (2, 4)  # at least, at most
ACCELERATED_SLOTS: Final = 16
EMULATED_SILENT_BOOT_S: Final = 120.0
QUIET_S: Final = 1.0  # an emulated console quiet for so long after it spoke: the boot is over
SETTLE_S: Final = 20.0  # the most that a speaking guest holds its slot
POLL_S: Final = 0.2
LIFE_CHECK_S: Final = 2.0
SILENT_PROPERTY: Final = "pileus_silent_boot_s"
MAX_SILENT_BOOT_S: Final = 3600.0


class BootRules(msgspec.Struct, frozen=True):
    """How this host boots guests. silent_boot_s: 0 waits for ever. settle_s: 0 frees the slot once the guest
    has started."""

    slots: int
    silent_boot_s: float
    settle_s: float


def rules_for(config: AgentConfig, acceleration: Acceleration, vcpus: int) -> BootRules:
    """The configured rules, or what suits the host."""
    emulated = acceleration.kind == "tcg"
    fewest, most = EMULATED_SLOTS
    slots = max(fewest, min(most, vcpus + 1)) if emulated else ACCELERATED_SLOTS
    silent = EMULATED_SILENT_BOOT_S if emulated else 0.0
    return BootRules(
        config.start_slots or slots,
        silent if config.silent_boot_s is None else config.silent_boot_s,
        SETTLE_S if emulated else 0.0,
    )


BootEvent = Callable[[str, Fault | None], Awaitable[None]]
"""Told `boot_restarted` (None) or `boot_failed` with the fault, after it was done."""


class Boots:
    """All boots under way on this host."""

    def __init__(self, hypervisor: Hypervisor, rules: BootRules) -> None:
        self._hypervisor = hypervisor
        self._rules = rules
        self._slots = asyncio.Semaphore(rules.slots)
        self._watches: dict[str, asyncio.Task[None]] = {}

    def under_way(self, server_id: str) -> bool:
        """Whether the server's boot is still watched."""
        return server_id in self._watches

    async def start(self, spec: ServerSpec, console_log: Path, tell: BootEvent) -> None:
        """Start the guest when there is a slot for it; returns once it runs. Its watch goes on in the
        background."""
        await self.forget(spec.server_id)
        with observed("start guest", spec.server_id) as work:
            await self._slots.acquire()
            work.has_waited("a boot slot")
            await self._start_watched(spec, console_log, tell)

    async def _start_watched(self, spec: ServerSpec, console_log: Path, tell: BootEvent) -> None:
        watched = False
        try:
            already = await asyncio.to_thread(console.size, console_log)
            await self._hypervisor.start(spec.server_id)
            watch = self._watch(spec, console_log, already, tell)
            task = asyncio.create_task(watch, name=f"boot watch {spec.server_id}")
            watched = True
        finally:
            if not watched:
                self._slots.release()
        self._watches[spec.server_id] = task
        task.add_done_callback(lambda done: self._ended(spec.server_id, done))

    async def forget(self, server_id: str) -> None:
        """End the watch of a server: somebody else decides about its guest now."""
        task = self._watches.get(server_id)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        for server_id in list(self._watches):
            await self.forget(server_id)

    def _ended(self, server_id: str, task: asyncio.Task[None]) -> None:
        self._slots.release()
        if self._watches.get(server_id) is task:
            del self._watches[server_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("boot watch of %s failed", server_id, exc_info=error)

    async def _watch(self, spec: ServerSpec, console_log: Path, already: int, tell: BootEvent) -> None:
        silent_s = self._silent_boot_s(spec)
        if not self._rules.settle_s and not silent_s:
            return
        try:
            if await self._speaks(spec.server_id, console_log, already, silent_s):
                await self._settle(console_log)
                return
            log.warning("server %s wrote nothing to its console in %g s: restarting it", spec.server_id, silent_s)
            await self._hypervisor.power_off(spec.server_id)
            await self._hypervisor.start(spec.server_id)
            await tell("boot_restarted", None)
            if await self._speaks(spec.server_id, console_log, already, silent_s):
                return
            await self._hypervisor.power_off(spec.server_id)
            await tell("boot_failed", _silent_fault(silent_s))
        except EXPECTED as error:
            log.warning("server %s: boot watch gave up: %s", spec.server_id, error)

    def _silent_boot_s(self, spec: ServerSpec) -> float:
        asked = spec.image.properties.get(SILENT_PROPERTY) if spec.image is not None else None
        if asked is None:
            return self._rules.silent_boot_s
        try:
            return min(max(float(asked), 0.0), MAX_SILENT_BOOT_S)
        except ValueError:
            return self._rules.silent_boot_s

    async def _speaks(self, server_id: str, console_log: Path, already: int, silent_s: float) -> bool:
        """Whether the console grows in time; also true when there is nothing left to wait for."""
        loop = asyncio.get_running_loop()
        begun = next_check = loop.time()
        deadline = begun + (silent_s or self._rules.settle_s)
        while console.size(console_log) in (0, already):
            now = loop.time()
            if now >= deadline:
                return not silent_s
            if now >= next_check:
                next_check = now + LIFE_CHECK_S
                guest = await self._hypervisor.inspect(server_id)
                if guest is None or guest.power_state != "running":
                    return True  # ended by itself: the reconciler tells
            await asyncio.sleep(POLL_S)
        return True

    async def _settle(self, console_log: Path) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._rules.settle_s
        last, quiet_since = -1, loop.time()
        while loop.time() < deadline and loop.time() - quiet_since < QUIET_S:
            if (size := console.size(console_log)) != last:
                last, quiet_since = size, loop.time()
            await asyncio.sleep(POLL_S)


def _silent_fault(silent_s: float) -> Fault:
    return Fault(
        "boot_silent",
        f"The server wrote nothing to its serial console within {silent_s:g} s, twice, and was stopped. "
        f"If its image is meant to be silent, set the image property {SILENT_PROPERTY} to 0.",
    )
