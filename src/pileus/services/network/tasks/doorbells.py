"""Wakes agents and tells subscribers after commits; many rings for one agent in a short time become one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from pileus.kernel import context as ctx
from pileus.kernel.bus import Bus, Event
from pileus.kernel.context import Context
from pileus.services.network.rpc import HostChanged, agent_topic

SETTLE_S: Final = 0.005


class Doorbells:
    """See `Bells`. Rings come from the event loop (after commits); a lost one costs time only."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[tuple[str, str], Context] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def ring(self, kind: str, host: str) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_later(SETTLE_S, self._flush)
        here = ctx.current()
        known = self._waiting.setdefault((kind, host), here)
        if known.request_id != here.request_id:
            self._waiting[kind, host] = Context()  # rung for several requests: in the name of none

    def announce(self, event: Event) -> None:
        self._spawn(self._bus.publish(event))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (kind, host), context in sorted(waiting.items(), key=lambda item: item[0]):
            self._spawn(self._tell(kind, host, context))

    async def _tell(self, kind: str, host: str, context: Context) -> None:
        ctx.enter(context)
        await self._bus.cast(agent_topic(kind, host), HostChanged())  # type: ignore[arg-type]

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
