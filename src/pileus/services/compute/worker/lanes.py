"""One piece of work at a time for each server, and a way for urgent work to cancel what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Overtaken(Exception):
    """The work was cancelled by a later message."""


class _Lane:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.task: asyncio.Task[Any] | None = None
        self.kind: type[Any] | None = None


class Lanes:
    """A lane per server, for as long as somebody is in it."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def busy(self, server_id: str) -> bool:
        """Whether work for the server is under way."""
        lane = self._lanes.get(server_id)
        return lane is not None and lane.lock.locked()

    async def run(
        self, server_id: str, kind: type[Any], work: Callable[[], Awaitable[T]], overtakes: frozenset[type[Any]]
    ) -> T:
        """Run `work` when the lane is free, having cancelled what is in it if its kind is in `overtakes`. Raises
        Overtaken if the same happens to `work`."""
        lane = self._lanes.setdefault(server_id, _Lane())
        if lane.task is not None and lane.kind in overtakes:
            lane.task.cancel()
        lane.users += 1
        try:
            async with lane.lock:
                return await _in_turn(lane, kind, work, f"{kind.__name__} {server_id}")
        finally:
            lane.users -= 1
            if not lane.users:
                self._lanes.pop(server_id, None)


async def _in_turn(lane: _Lane, kind: type[Any], work: Callable[[], Awaitable[T]], name: str) -> T:
    """Run `work` as a task of its own, so that it can be cancelled without cancelling its caller."""

    async def run() -> T:
        return await work()

    task = asyncio.create_task(run(), name=name)
    lane.task, lane.kind = task, kind
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:  # the agent is closing
        task.cancel()
        await asyncio.wait({task})
        raise
    finally:
        lane.task = lane.kind = None
    if task.cancelled():
        raise Overtaken
    return task.result()
