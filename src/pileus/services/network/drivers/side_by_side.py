"""Works on the routers or networks of a host side by side: one that hangs or fails holds up no other.

A round waits a while for its items. One that takes longer goes on by itself and is looked at again in a later round;
one that failed is tried again after a pause that grows, or at once when something else is wanted of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from pileus.kernel.host.command import CommandError

from .namespace_ports import PortError

AT_ONCE = 4
PATIENCE_S = 5.0  # how long a round waits, and how long one item may keep a place from others
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 30.0
CALM_S = 120.0  # without failure for this long, the next one counts as a first one again
FAILURES = (CommandError, PortError, ValueError, OSError)
Item = TypeVar("Item")
Report = TypeVar("Report")
log = logging.getLogger(__name__)


class Failed(Struct, frozen=True):
    """An item could not be made right; the text says why."""

    reason: str


class _Trouble(Struct, frozen=True):
    """The last failure of an item: what was wanted of it, why it failed ("" when it is over), how often in a row, when
    to try again."""

    item: object
    reason: str
    count: int
    failed_at: float
    retry_at: float


class SideBySide(Generic[Item, Report]):
    """`work(key, item)` is run on each item; an error of `FAILURES` is its failure, and the text says why.

    `start` names whom to call when another round has something to see.
    """

    def __init__(self, work: Callable[[str, Item], Awaitable[Report]], patience_s: float = PATIENCE_S) -> None:
        self._work = work
        self._patience_s = patience_s
        self._ready: Callable[[], None] = lambda: None
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._in_hand: dict[str, tuple[Item, asyncio.Task[Report]]] = {}
        self._troubles: dict[str, _Trouble] = {}

    def start(self, ready: Callable[[], None]) -> None:
        self._ready = ready

    async def close(self) -> None:
        """Give up what is in hand."""
        tasks = [task for _, task in self._in_hand.values()]
        self._in_hand.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def in_hand(self) -> frozenset[str]:
        """Items that are worked on right now."""
        return frozenset(self._in_hand)

    async def run(self, items: Mapping[str, Item]) -> dict[str, Report | Failed]:
        """One round. For each item its report or failure; nothing for those that are not through yet."""
        now = time.monotonic()
        self._troubles = {key: trouble for key, trouble in self._troubles.items() if key in items}
        paused = {key: failed for key, item in items.items() if (failed := self._why_paused(key, item, now))}
        for key, item in items.items():
            if key not in self._in_hand and key not in paused:
                self._in_hand[key] = item, asyncio.create_task(self._one(key, item), name=f"look after {key}")
        if self._in_hand:
            await asyncio.wait([task for _, task in self._in_hand.values()], timeout=self._patience_s)
        outcomes: dict[str, Report | Failed] = {**paused}
        for key in [key for key, (_, task) in self._in_hand.items() if task.done()]:
            begun_with, task = self._in_hand.pop(key)
            if key not in items or items[key] != begun_with:
                self._ready()  # something else is wanted of it by now
                task.exception()
                continue
            outcomes[key] = self._outcome(key, begun_with, task)
        for key in self._in_hand:  # a next try that is not through yet changes nothing
            trouble = self._troubles.get(key)
            if trouble is not None and trouble.reason and trouble.item == items.get(key):
                outcomes[key] = Failed(trouble.reason)
        self._ring_for_slow_ones()
        return outcomes

    def _ring_for_slow_ones(self) -> None:
        for _, task in self._in_hand.values():
            task.remove_done_callback(self._slow_one_ended)
            task.add_done_callback(self._slow_one_ended)

    def _slow_one_ended(self, _: asyncio.Task[Report]) -> None:
        self._ready()

    def _why_paused(self, key: str, item: Item, now: float) -> Failed | None:
        trouble = self._troubles.get(key)
        if trouble is None or trouble.item != item or now >= trouble.retry_at:
            return None
        return Failed(trouble.reason)

    async def _one(self, key: str, item: Item) -> Report:
        await self._gate.acquire()
        loop = asyncio.get_running_loop()
        place_kept = loop.call_later(self._patience_s, self._gate.release)
        try:
            return await self._work(key, item)
        finally:
            if place_kept.when() > loop.time():
                place_kept.cancel()
                self._gate.release()

    def _outcome(self, key: str, item: Item, task: asyncio.Task[Report]) -> Report | Failed:
        before, now = self._troubles.get(key), time.monotonic()
        try:
            report = task.result()
        except FAILURES as error:
            count = 1 if before is None or before.item != item else before.count + 1
            pause_s = min(FIRST_PAUSE_S * 2 ** (count - 1), LAST_PAUSE_S)
            self._troubles[key] = _Trouble(item, str(error), count, now, now + pause_s)
            log.warning("%s: %s; next try in %g s", key, error, pause_s)
            asyncio.get_running_loop().call_later(pause_s, self._ready)
            return Failed(str(error))
        if before is not None:
            self._troubles[key] = replace(before, reason="")
            if now - before.failed_at > CALM_S:
                del self._troubles[key]
        return report
