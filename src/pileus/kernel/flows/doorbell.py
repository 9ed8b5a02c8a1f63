"""Tells the conductors in other processes that a flow was started or cancelled here; a lost ring costs their poll."""

from __future__ import annotations

import asyncio
from typing import Any

from pileus.kernel.bus import Bus, Event

SETTLE_S = 0.005


class FlowsDue(Event, frozen=True):
    """Flows of a service may be due, or were cancelled. An event and not a message to any one conductor: the flow that
    was cancelled is with a certain one, and one that has no room must not keep the ring for itself."""

    service: str


class FlowsDoorbell:
    """Rung after commits (see `FlowStore.on_start`); many rings in a short time become one event."""

    def __init__(self, bus: Bus, service: str) -> None:
        self._bus = bus
        self._service = service
        self._rung = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def ring(self) -> None:
        """Soon, once."""
        if not self._rung:
            self._rung = True
            asyncio.get_running_loop().call_later(SETTLE_S, self._tell)

    def _tell(self) -> None:
        self._rung = False
        task = asyncio.get_running_loop().create_task(self._bus.publish(FlowsDue(service=self._service)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
