"""Hops: the pieces of work that one operation is made of, wherever they were done.

A hop is recorded when it is over: by the HTTP application for each request that matters, by the bus for each message
handled, and by whoever wraps their own work in `with hop(…)`. Recording is one append to a bounded buffer; it never
waits and never fails. The steps of flows are not recorded here: their journal has them already.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from pileus.kernel import context as ctx
from pileus.kernel.context import Context
from pileus.kernel.errors import ServiceError, Unavailable

MAX_NAME_CHARS = 200
MAX_FAULT_CHARS = 500
MAX_DETAIL_CHARS = 2_000
MAX_ID_CHARS = 64
NOTABLE_WAIT_MS = 1.0

_TOKEN = re.compile(r"gAAAA[\w=-]{16,}")
"""What every token of this cloud begins with."""
_PROCESS = os.urandom(5).hex()
_numbers = itertools.count(1)


class HopFault(msgspec.Struct, frozen=True):
    """Why a hop failed. type: the error's class, stable. text: what the user was told. detail: for operators."""

    code: int
    type: str
    text: str
    detail: str = ""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work of an operation.

    id: unique; a request's is its request id, a flow step's its flow and name (`step_id`). cause: the id of the hop
    that had it done. at: when it began, UTC. role: who did it (`compute-agent`). kind: `http`, `bus`, `flow`, `call`
    (somebody asked and got no answer) or `agent` (work on a host). name: what was done. resource_id: to what.
    duration_ms: None while it runs. waited_for: what it had to wait for before or while it worked. attempt: 0 the
    first time. outcome: an HTTP status, `done`, `failed`, `cancelled`, or a journal's word.
    """

    id: str
    at: datetime
    host: str
    role: str
    kind: str
    name: str
    request_id: str = ""
    global_request_id: str = ""
    cause: str = ""
    project_id: str = ""
    resource_id: str = ""
    duration_ms: float | None = None
    waited_for: str = ""
    attempt: int = 0
    outcome: str = "done"
    fault: HopFault | None = None

    @property
    def failed(self) -> bool:
        """Whether it did not do what it was asked to."""
        return self.fault is not None


class Sink(Protocol):
    """Where hops go; see `Recorder`."""

    host: str

    def record(self, hop: Hop) -> None: ...


_sink: ContextVar[Sink | None] = contextvars.ContextVar("pileus_hops", default=None)


def collect(sink: Sink | None) -> None:
    """Send the hops of this task, and of all it starts from now on, to `sink` (a node does so once, when it starts)."""
    _sink.set(sink)


def sink() -> Sink | None:
    """Where hops of this task go; None where nobody collects."""
    return _sink.get()


def new_id() -> str:
    """The id of a hop that is no request."""
    return f"{_PROCESS}-{next(_numbers)}"


def step_id(flow_id: str, step: str) -> str:
    """The id of a flow's step, the same for all its attempts."""
    return f"{flow_id}/{step}"[:MAX_ID_CHARS]


def without_tokens(text: str) -> str:
    """Text as it may be kept, whatever a client put into it."""
    return _TOKEN.sub("<token>", text) if "gAAAA" in text else text


def clean(text: str, limit: int) -> str:
    """Text of an error or a name as it may be kept: no tokens, not endless."""
    return without_tokens(text)[:limit]


def fault_of(error: BaseException) -> HopFault:
    """The fault that an error stands for. Errors nobody foresaw are named, not quoted: they may hold anything."""
    kind = type(error).__name__
    if isinstance(error, ServiceError):
        named = error.type if kind == "RemoteError" else kind
        detail = clean(error.detail or "", MAX_DETAIL_CHARS)
        return HopFault(error.code, named, clean(error.text, MAX_FAULT_CHARS), detail)
    if isinstance(error, TimeoutError):  # before OSError, of which it is one
        return HopFault(504, "Timeout", clean(str(error), MAX_FAULT_CHARS) or "There was no answer in time.")
    if isinstance(error, OSError):
        return HopFault(503, kind, clean(error.strerror or "The operating system refused.", MAX_FAULT_CHARS))
    return HopFault(500, kind, "An unexpected error stopped it.")


def record(
    *, role: str, kind: str, name: str, began: float, context: Context | None = None, id: str = "",
    resource_id: str = "", project_id: str = "", waited_for: str = "", attempt: int = 0, outcome: str = "done",
    fault: HopFault | None = None,
) -> None:
    """Record a hop that ends now. began: `time.perf_counter()` of its start. context: of the work (default: current);
    its `cause` becomes the hop's."""
    if (to := _sink.get()) is None:
        return
    context = context or ctx.current()
    took = time.perf_counter() - began
    to.record(
        Hop(
            id=id or new_id(), at=datetime.fromtimestamp(time.time() - took, UTC), host=to.host, role=role, kind=kind,
            name=clean(name, MAX_NAME_CHARS), request_id=context.request_id,
            global_request_id=context.global_request_id or "", cause=context.cause,
            project_id=project_id or context.project_id or "", resource_id=resource_id[:MAX_ID_CHARS],
            duration_ms=round(took * 1000, 3), waited_for=waited_for[:MAX_NAME_CHARS], attempt=attempt,
            outcome=outcome, fault=fault,
        )
    )


@contextmanager
def asking(role: str, name: str, resource_id: str = "") -> Iterator[None]:
    """Around a question to another role: when no answer comes, only this side can tell."""
    began = time.perf_counter()
    try:
        yield
    except (Unavailable, TimeoutError, OSError) as error:
        if ctx.current().request_id:
            record(
                role=role, kind="call", name=name, began=began, resource_id=resource_id, outcome="no answer",
                fault=fault_of(error),
            )
        raise


class hop:
    """`with hop("compute-agent", "image", resource_id=server_id) as work: …` records the block as one hop.

    What it has done by others names it as their cause. An exception is its fault, and goes on. `work.fault` may be set
    inside. kept: False for a block that turns out to be of no interest.
    """

    __slots__ = ("_began", "_id", "_outside", "_token", "_waits", "attempt", "fault", "kept", "kind", "name",
                 "resource_id", "role")

    def __init__(
        self, role: str, name: str, *, resource_id: str = "", kind: str = "agent", attempt: int = 0, kept: bool = True
    ) -> None:
        self.role, self.name, self.kind = role, name, kind
        self.resource_id, self.attempt, self.kept = resource_id, attempt, kept
        self.fault: HopFault | None = None
        self._waits: list[str] = []
        self._token: Token[Context] | None = None

    def __enter__(self) -> hop:
        self._began = time.perf_counter()
        if self.kept and _sink.get() is not None:
            self._id, self._outside = new_id(), ctx.current()
            self._token = ctx.enter(msgspec.structs.replace(self._outside, cause=self._id))
        return self

    def has_waited(self, what: str, since: float | None = None) -> None:
        """All it did until now was to wait for `what` (since a `time.perf_counter()`, or since its beginning)."""
        waited_ms = (time.perf_counter() - (self._began if since is None else since)) * 1000
        if waited_ms >= NOTABLE_WAIT_MS:
            self._waits.append(f"{what} {waited_ms:.0f} ms")

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._token is None:
            return
        ctx.leave(self._token)
        cancelled = isinstance(error, asyncio.CancelledError)
        if error is not None and not cancelled and self.fault is None:
            self.fault = fault_of(error)
        record(
            id=self._id, role=self.role, kind=self.kind, name=self.name, began=self._began, context=self._outside,
            resource_id=self.resource_id, waited_for=", ".join(self._waits), attempt=self.attempt, fault=self.fault,
            outcome="cancelled" if cancelled else "failed" if self.fault is not None else "done",
        )
