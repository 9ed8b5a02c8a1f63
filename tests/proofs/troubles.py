"""What goes wrong on purpose: steps that are run twice or fail, and a process that dies at a line of the journal.

Only definitions of flows are wrapped, and one function of the store that writes the journal; all code under test is the
product's own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from pileus.kernel.db import Database, DatabaseUnavailable, Tx
from pileus.kernel.errors import ServiceError
from pileus.kernel.flows import Flow, FlowStore, Run, Step
from pileus.kernel.flows.definition import StepFunction

BACKOFF_S = 0.005
"""Of all steps, so that many attempts take little time."""

Moment = Literal["before", "after"]


class Injected(ServiceError):
    """What a step raises that was told to fail."""

    code = 500
    type = "Injected"
    text = "This step was told to fail."


class Killed(BaseException):
    """The process dies here: nothing of the product may catch it."""


class Line(msgspec.Struct, frozen=True):
    """A line of a flow's journal."""

    step: str
    event: str

    def __str__(self) -> str:
        return f"{self.step} {self.event}"


class Troubles:
    """What shall go wrong with flows of the name `flow`, until `end()`.

    fail: at which step, before or after it did its work. fail_undo: of which step. block: at which step it stays, as if
    something did not answer. kill: at which line of the journal, before or after its commit. away: at which step, and
    at which of its transactions (from 0), the service's database does not answer for once.
    """

    def __init__(self) -> None:
        self.died = threading.Event()
        self.blocked = threading.Event()
        self.end()

    def end(self) -> None:
        """All goes well again."""
        self.flow = ""
        self.steps_twice = self.undos_twice = False
        self.fail: tuple[str, str] | None = None
        self.fail_undo = ""
        self.block: tuple[str, str] | None = None
        self.kill: tuple[Line, str] | None = None
        self.away: tuple[str, int] | None = None
        self.died.clear()
        self.blocked.clear()

    # -- steps -----------------------------------------------------------------------------------------------

    def wrap(self, flow: Flow) -> Flow:
        """The flow with steps that obey."""
        return msgspec.structs.replace(flow, steps=tuple(self._wrap_step(flow, step) for step in flow.steps))

    def _wrap_step(self, flow: Flow, step: Step) -> Step:
        async def do(run: Run[Any]) -> None:
            if flow.name != self.flow:
                return await step.do(run)
            await self._trouble(step.name, "before")
            if self.away is not None and self.away[0] == step.name:
                run.rt = _Forwarding(run.rt, db=_AwayOnce(run.rt.db, self))
            if self.steps_twice:
                await _as_if_forgotten(step.do, run)
            await step.do(run)
            await self._trouble(step.name, "after")

        async def undo(run: Run[Any]) -> None:
            assert step.undo is not None
            if flow.name == self.flow and self.fail_undo == step.name:
                raise Injected
            if flow.name == self.flow and self.undos_twice:
                await _as_if_forgotten(step.undo, run)
            await step.undo(run)

        return msgspec.structs.replace(step, do=do, undo=step.undo and undo, backoff_s=BACKOFF_S)

    async def _trouble(self, step: str, moment: Moment) -> None:
        if self.block == (step, moment):
            self.blocked.set()
            await asyncio.Event().wait()
        if self.fail == (step, moment):
            raise Injected

    # -- the journal -----------------------------------------------------------------------------------------

    def watch(self, store: FlowStore) -> Callable[[], None]:
        """Have the store obey, too; returns what ends that."""
        write = store.write_progress
        table = store.flows

        def write_or_die(tx: Tx, flow_id: str, *, at_step: str, event: str, **more: Any) -> None:
            dies = None
            if self.kill is not None and self.kill[0] == Line(at_step, event):
                row = tx.first(table.select().where(table.c.id == flow_id))
                dies = self.kill[1] if row is not None and row.name == self.flow else None
            if dies == "before":
                self._die()
            write(tx, flow_id, at_step=at_step, event=event, **more)
            if dies == "after":
                tx.after_commit(self._die)

        store.write_progress = write_or_die  # type: ignore[method-assign]

        def end() -> None:
            del store.write_progress

        return end

    def _die(self) -> None:
        self.kill = None
        self.died.set()
        raise Killed


class _Forwarding:
    """An object with some attributes of its own and the others of another one."""

    def __init__(self, to: object, **own: object) -> None:
        self._to = to
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._to, name)


class _AwayOnce:
    """A database that does not answer when `troubles.away` says so; clears it then."""

    def __init__(self, database: Database, troubles: Troubles) -> None:
        self._database, self._troubles, self._transactions = database, troubles, 0

    async def read(self, *arguments: Any, **more: Any) -> Any:
        self._count()
        return await self._database.read(*arguments, **more)

    async def write(self, *arguments: Any, **more: Any) -> Any:
        self._count()
        return await self._database.write(*arguments, **more)

    def _count(self) -> None:
        number, self._transactions = self._transactions, self._transactions + 1
        if self._troubles.away is not None and self._troubles.away[1] == number:
            self._troubles.away = None
            raise DatabaseUnavailable("The database does not answer in time.")


async def _as_if_forgotten(work: StepFunction, run: Run[Any]) -> None:
    """Do it, and lose all memory of having done it: what a death before the journal line means."""
    before = msgspec.json.encode(run.data)
    await work(run)
    run.writes.clear()
    remembered = msgspec.json.decode(before, type=type(run.data))
    for name in run.data.__struct_fields__:
        setattr(run.data, name, getattr(remembered, name))
