"""What a flow is: steps, each with its undo, and what the resource becomes when it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

import msgspec

from pileus.kernel.context import Context
from pileus.kernel.db import Tx

if TYPE_CHECKING:
    from pileus.kernel.flows.tables import Fault
    from pileus.kernel.process.runtime import Runtime

D = TypeVar("D")
P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_STEP_TIMEOUT_S = 60.0
DEFAULT_DEADLINE_S = 3_600.0
MAX_NAME_CHARS = 64


class Retry(Exception):
    """Raised by a step that cannot go on yet: it is run again after `after_s`, as often as the step allows."""

    def __init__(self, reason: str, *, after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Run(Generic[D]):
    """What a step gets. `data` may be changed; it is stored with the step's journal line when the step ends.

    detail: a sentence for the journal, shown to the user as progress. attempt: 0 the first time. writes: see
    `with_journal`. guard: raises `LeaseLost` when the flow has gone to another runner; see `write`.
    """

    __slots__ = ("attempt", "context", "data", "detail", "flow_id", "guard", "resource_id", "rt", "writes")

    def __init__(
        self, *, rt: Runtime[Any], flow_id: str, resource_id: str, context: Context, data: D, attempt: int,
        guard: Callable[[Tx], None],
    ) -> None:
        self.rt = rt
        self.flow_id = flow_id
        self.resource_id = resource_id
        self.context = context
        self.data = data
        self.attempt = attempt
        self.guard = guard
        self.detail = ""
        self.writes: list[Callable[[Tx], object]] = []

    def with_journal(self, fn: Callable[Concatenate[Tx, P], object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Have `fn(tx, …)` run when the step or undo is over, in the transaction of its journal line: one trip to the
        disk instead of two. A `Retry` or `ServiceError` that it raises is the step's."""
        self.writes.append(lambda tx: fn(tx, *args, **kwargs))

    async def write(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A transaction in the middle of a step; like the journal's, it is refused once the flow has gone to another
        runner."""

        def guarded(tx: Tx) -> R:
            self.guard(tx)
            return fn(tx, *args, **kwargs)

        return await self.rt.db.write(guarded)


StepFunction = Callable[[Run[Any]], Awaitable[None]]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step. It may be run again after a crash, so it must find out what is already there.

    undo: takes back what the step may have done, wholly or in part or not at all, and may be run again as well; None
    when nothing remains. timeout_s, undo_timeout_s: for one attempt of either. attempts: how often the step is tried
    (an undo is tried for ever). backoff_s: first pause of both, doubled each time.
    """

    name: str
    do: StepFunction
    undo: StepFunction | None = None
    timeout_s: float = DEFAULT_STEP_TIMEOUT_S
    undo_timeout_s: float = DEFAULT_STEP_TIMEOUT_S
    attempts: int = 3
    backoff_s: float = 0.5


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of flow; the file is `flows/verb_noun.py` and defines `FLOW`.

    version: raised when steps or data change so that a running one could not go on; old versions stay registered until
    none can be in flight. data: struct of what the steps share; a new field needs a default, or a new version.
    deadline_s: of the whole; then a step under way is cut off and everything is undone.

    on_done, on_failed: set the resource's final state, once, in a transaction with the journal. `on_failed` comes after
    all undos; but when one undo has failed `UNDO_ATTEMPTS` times (a sibling is dead for long), it comes at once, so
    that the user is not left waiting: the flow is then *settled*, and only its clean-up goes on, with long pauses, for
    ever.

    overtakes: this flow takes away everything that any flow of the resource may have made, as a delete does. Flows of a
    resource run one after the other, but this one does not wait for the clean-up of a settled one: it runs first, and
    the clean-up goes on after it (finding nothing if it went well). Other flows would build on what is being cleaned
    up: they wait for its end, so their API refuses them (`FlowStore.cleaning_up`).
    """

    name: str
    data: type[Any]
    steps: tuple[Step, ...]
    on_failed: Callable[[Tx, Any, Fault], None]
    on_done: Callable[[Tx, Any], None] | None = None
    version: int = 1
    deadline_s: float = DEFAULT_DEADLINE_S
    overtakes: bool = False

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"flow {self.name} needs steps, each with a name of its own")
        if any(not name or len(name) > MAX_NAME_CHARS for name in (self.name, *names)):
            raise ValueError(f"flow {self.name}: names have 1 to {MAX_NAME_CHARS} characters")
