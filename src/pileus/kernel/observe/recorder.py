"""The recorder: takes hops without waiting, hands them on in batches; and the bus message that carries them to a node
with the trace database."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from pileus.kernel.bus.messages import Message
from pileus.kernel.observe.hops import Hop

log = logging.getLogger(__name__)

TOPIC = "trace"
MAX_WAITING = 20_000
MAX_BATCH = 1_000
FLUSH_S = 0.5
MAX_STRANGERS_PER_FLUSH = 100


class HopsRecorded(Message, frozen=True):
    """Cast to `trace`: hops of a node that has no trace database. Whoever has one keeps them."""

    traced: ClassVar[bool] = False
    hops: tuple[Hop, ...]


class Recorder:
    """Keeps at most `MAX_WAITING` hops; when more come before they are handed on the oldest go, and are counted.

    Requests of nobody known (wrong or no token) may not push out the others: of those only so many are kept.
    """

    def __init__(self, host: str, hand_on: Callable[[Sequence[Hop]], Awaitable[None]]) -> None:
        self.host = host
        self.hand_on = hand_on
        self.dropped = 0
        self._waiting: deque[Hop] = deque()
        self._strangers = 0
        self._bell = asyncio.Event()

    def record(self, hop: Hop) -> None:
        """See `Sink`. Only from the event loop."""
        if hop.outcome == "401":
            self._strangers += 1
            if self._strangers > MAX_STRANGERS_PER_FLUSH:
                self.dropped += 1
                return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(hop)
        self._bell.set()

    async def run_forever(self) -> None:
        """Hand on what comes, a little later and together, until cancelled; then what is left."""
        try:
            while True:
                await self._bell.wait()
                await asyncio.sleep(FLUSH_S)
                await self._flush()
        finally:
            await self._flush()

    async def _flush(self) -> None:
        """Hand on what is there now; what comes meanwhile waits for the next time."""
        self._bell.clear()
        self._strangers = 0
        left = len(self._waiting)
        while left and self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, left, len(self._waiting)))]
            left -= len(batch)
            try:
                await self.hand_on(batch)
            except Exception:  # a kernel loop: a full disk under the traces must not stop the cloud
                log.exception("hops could not be handed on")
                self.dropped += len(batch)
        if self.dropped:
            log.warning("%d hops were dropped: traces of this time have gaps", self.dropped)
            self.dropped = 0
