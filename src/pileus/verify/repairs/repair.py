"""What a repair is, and what it has at hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from pileus.kernel.bus import Bus
from pileus.verify.evidence import whole
from pileus.verify.evidence.whole import Databases, Evidence
from pileus.verify.finding import Finding, Key
from pileus.verify.installation import Installation

DONE, GONE = "done", "gone"
"""How a repair ends that did not fail: it acted, or there was nothing to do any more."""
AGAIN_S = 1.0
FRESH_S = 3.0

Check = Callable[[Evidence], list[Finding]]


class RepairFailed(Exception):
    """The repair could not be made; the text says why."""


class Tools:
    """What repairs work with. is_running: whether a process of the cloud runs, whose agents and conductors can work.
    bus: over which other hosts are asked. findings_in: the catalogue's checks."""

    def __init__(
        self, installation: Installation, databases: Databases, bus: Bus | None = None, *, is_running: bool,
        findings_in: Check,
    ) -> None:  # fmt: skip
        self.installation = installation
        self.databases = databases
        self.bus = bus
        self.is_running = is_running
        self._findings_in = findings_in
        self._seen: set[Key] = set()
        self._seen_at = float("-inf")
        self.evidence: Evidence | None = None

    async def stands(self, finding: Finding, *, fresh: bool = True) -> bool:
        """Look again: whether the finding is still to be seen. Not `fresh`: a look a moment ago will do."""
        if fresh or time.monotonic() - self._seen_at > FRESH_S:
            self.evidence = await whole.look(self.installation, self.databases, self.bus)
            found = await asyncio.to_thread(self._findings_in, self.evidence)
            self._seen, self._seen_at = {item.key for item in found}, time.monotonic()
        return finding.key in self._seen

    async def goes(self, finding: Finding, within_s: float) -> bool:
        """Wait until the finding cannot be seen any more; False when it still is after that time."""
        deadline = time.monotonic() + within_s
        while await self.stands(finding):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(AGAIN_S)
        return True


class Repair(msgspec.Struct, frozen=True):
    """words: what it does, as an imperative sentence. act: does it to one finding and returns `DONE` or `GONE`, or
    raises RepairFailed; None: people must decide, and `words` says what they can do. on_host: it changes the host
    that the finding is on, and can be done nowhere else."""

    words: str
    act: Callable[[Tools, Finding], Awaitable[str]] | None = None
    on_host: bool = False


def outcome(changed: bool) -> str:
    """Of a compare-and-swap: it was made, or what it wanted to change is not there any more."""
    return DONE if changed else GONE
