"""Periodic tasks and reconcilers: run every so often and when rung, one run at a time, errors logged and survived.

A run has a deadline. What it was doing is given up then, so that one thing that never answers does not end the looking
after everything else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

JITTER = 0.1
RUN_LIMIT_S = 600.0


class Reconciler:
    """Runs `work` every `every_s` seconds (with a little jitter) and soon after `ring()`.

    Rings during a run are kept and merged: the next run begins right after. `work` takes no input; it looks for what
    must be done. A run that has not ended after `limit_s` is cancelled.
    """

    def __init__(
        self, name: str, work: Callable[[], Awaitable[object]], *, every_s: float, settle_s: float = 0.0,
        limit_s: float = RUN_LIMIT_S,
    ):
        self.name = name
        self.every_s = every_s
        self.settle_s = settle_s
        self.limit_s = limit_s
        self.runs = 0
        self._work = work
        self._bell = asyncio.Event()
        self._failure = ""

    def ring(self) -> None:
        """Ask for a run soon. Rings within `settle_s` are served by one run."""
        self._bell.set()

    async def run_forever(self) -> None:
        """Loop until cancelled."""
        while True:
            self._bell.clear()
            await self._run()
            self.runs += 1
            try:
                async with asyncio.timeout(self.every_s * (1 + JITTER * random.random())):
                    await self._bell.wait()
            except TimeoutError:
                continue
            if self.settle_s:
                await asyncio.sleep(self.settle_s)

    async def _run(self) -> None:
        deadline = asyncio.timeout(self.limit_s)
        try:
            async with deadline:
                await self._work()
            self._failure = ""
        except Exception as error:  # a kernel loop: the next run is the retry
            if deadline.expired() and isinstance(error, TimeoutError):
                self._say(f"did not end within {self.limit_s:g} s and was given up", error)
            else:
                self._say(f"failed: {error}", error)

    def _say(self, what: str, error: Exception) -> None:
        """All of a failure the first time, one line while it goes on: a minute of it must not fill the log."""
        known, self._failure = self._failure == type(error).__name__, type(error).__name__
        log.error("%s %s; next try in %.0f s", self.name, what, self.every_s, exc_info=None if known else error)
