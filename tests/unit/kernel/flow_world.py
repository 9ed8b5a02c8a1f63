"""What tests of flows share: a world that steps change, a flow over it, a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from pileus.kernel.config import NodeConfig
from pileus.kernel.context import Clock
from pileus.kernel.flows import Flow, FlowRunner, Run, Step
from pileus.kernel.process import Node, Runtime

from .toy import FLOWS, SERVICE, runtime, set_state, until

NAMES = ("first", "second", "third")


class HandClock(Clock):
    """Real time, plus what it was moved by."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    def move(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


class World:
    """What the steps change: the set of things they made, and how often each was called."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.calls: list[str] = []
        self.fail_at: dict[str, Exception] = {}
        self.fail_undo: dict[str, Exception] = {}
        self.block_at: str | None = None
        self.reached = asyncio.Event()


class Data(msgspec.Struct):
    book_id: str
    seen: list[str] = []


def make_flow(world: World, name: str = "make_book", **options: Any) -> Flow:
    """Three steps, each with its undo. Ends in a state of the book that tells how."""

    def step(name: str) -> Step:
        async def do(run: Run[Data]) -> None:
            world.calls.append(name)
            world.made.add(name)
            if world.block_at == name:
                world.reached.set()
                await asyncio.Event().wait()
            if (error := world.fail_at.get(name)) is not None:
                raise error
            run.data.seen.append(name)
            run.detail = f"{name} is made"

        async def undo(run: Run[Data]) -> None:
            world.calls.append("undo " + name)
            if (error := world.fail_undo.get(name)) is not None:
                raise error
            world.made.discard(name)

        return Step(name=name, do=do, undo=undo, attempts=2, backoff_s=0.01)

    defaults: dict[str, Any] = {
        "data": Data, "steps": tuple(step(name) for name in NAMES),
        "on_done": lambda tx, data: set_state(tx, data.book_id, "done " + " ".join(data.seen)),
        "on_failed": lambda tx, data, fault: set_state(tx, data.book_id, f"failed {fault.type}"),
    }
    return Flow(name=name, **defaults | options)


def clocked(tmp_path: Path, clock: Clock, host: str = "h1", url: str | None = None) -> Runtime[Any]:
    """A runtime on the test's database with a clock of the test; more of them are more hosts."""
    return runtime(tmp_path, Node(NodeConfig(host=host, state_dir=str(tmp_path)), [SERVICE], clock=clock), url)


@contextlib.asynccontextmanager
async def running(*runners: FlowRunner) -> AsyncIterator[None]:
    """These runners run meanwhile."""
    tasks = [asyncio.create_task(runner.run_forever()) for runner in runners]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_until(runner: FlowRunner, condition: Callable[[], Any]) -> None:
    async with running(runner):
        await until(condition, 30.0)


def runner_of(rt: Any, *flows: Flow, owner: str = "o", **options: Any) -> FlowRunner:
    return FlowRunner(rt, FLOWS, flows, owner=owner, **options)


def start(rt: Any, flow: Flow, book_id: str = "b1") -> str:
    return rt.db.run(lambda tx: FLOWS.start(tx, flow, book_id, Data(book_id)))


def lines(rt: Any, book_id: str = "b1") -> list[tuple[str, str]]:
    return [(row.step, row.event) for row in rt.db.run(lambda tx: FLOWS.lines(tx, book_id))]


def flow_of(rt: Any, book_id: str = "b1", number: int = 0) -> Any:
    """The summary of the book's flow; the first one, or that number."""
    return rt.db.run(lambda tx: FLOWS.of_resource(tx, book_id))[number]
