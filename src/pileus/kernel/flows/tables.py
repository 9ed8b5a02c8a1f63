"""The two tables of flows in a service's own database, and their rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

from pileus.kernel.context import Context
from pileus.kernel.db import UtcDateTime

RUNNING, UNDOING, DONE, FAILED = "running", "undoing", "done", "failed"
ACTIVE_STATES = (RUNNING, UNDOING)

MAX_DETAIL_CHARS = 2_000
MAX_DATA_CHARS = 16_777_215


class Fault(msgspec.Struct, frozen=True):
    """Why a flow failed: status code, stable type, the user's text, at which step; detail is for the operator."""

    code: int
    type: str
    text: str
    step: str = ""
    detail: str = ""
    cancelled: bool = False


class Lease(msgspec.Struct, frozen=True):
    """The right to run a flow. number: raised with every claim, so that an owner of before can be told from the present
    one even when both have the same name."""

    owner: str
    number: int


class LeaseLost(Exception):
    """The flow has gone to another runner: whoever meets this leaves the flow alone from now on."""


class FlowRow(msgspec.Struct, frozen=True):
    """A flow as it was claimed. `taken_over`: the owner who did not end or hand it back, if there was one."""

    id: str
    name: str
    version: int
    resource_id: str
    state: str
    step: int
    attempt: int
    context: Context
    data: bytes
    cancel: bool
    settled: bool
    fault: Fault | None
    deadline_at: datetime
    lease: Lease
    taken_over: str | None


class FlowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A flow for people and checks. step: how many steps are done (when undoing: which one is undone). claimed_at: when
    it was run first; before that it waited in the queue. settled: see `Flow`."""

    id: str
    name: str
    version: int
    resource_id: str
    request_id: str
    global_request_id: str | None
    state: str
    step: int
    attempt: int
    cancel: bool
    settled: bool
    fault: Fault | None
    created_at: datetime
    claimed_at: datetime | None
    next_run_at: datetime
    deadline_at: datetime
    ended_at: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    lease_no: int

    @property
    def queued_s(self) -> float | None:
        """How long it waited for a runner; None while it waits."""
        return None if self.claimed_at is None else (self.claimed_at - self.created_at).total_seconds()


class FlowTables:
    """The tables themselves."""

    def __init__(self, metadata: MetaData) -> None:
        self.flows = Table(
            "flows",
            metadata,
            # The order in which they were started. SQLite numbers only a column of this very type.
            Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
            Column("id", String(36), nullable=False, unique=True),
            Column("name", String(64), nullable=False),
            Column("version", Integer, nullable=False),
            Column("resource_id", String(64), nullable=False, index=True),
            Column("request_id", String(64), nullable=False, index=True),
            Column("global_request_id", String(64), index=True),
            Column("state", String(16), nullable=False),
            Column("step", Integer, nullable=False),
            Column("attempt", Integer, nullable=False),
            Column("context", Text, nullable=False),
            Column("data", Text(MAX_DATA_CHARS), nullable=False),
            Column("cancel", Boolean, nullable=False),
            Column("overtakes", Boolean, nullable=False),
            Column("settled", Boolean, nullable=False),
            Column("fault", Text),
            Column("next_run_at", UtcDateTime, nullable=False),
            Column("deadline_at", UtcDateTime, nullable=False),
            Column("lease_owner", String(128)),
            Column("lease_until", UtcDateTime),
            Column("lease_no", Integer, nullable=False),
            Column("created_at", UtcDateTime, nullable=False),
            Column("claimed_at", UtcDateTime),
            Column("ended_at", UtcDateTime, index=True),
            Index("ix_flows_due", "state", "next_run_at"),
        )
        self.journal = Table(
            "flow_journal",
            metadata,
            Column("flow_id", String(36), primary_key=True),
            Column("seq", Integer, primary_key=True, autoincrement=False),
            Column("step", String(64), nullable=False),
            Column("event", String(16), nullable=False),
            Column("attempt", Integer, nullable=False),
            Column("at", UtcDateTime, nullable=False),
            Column("duration_ms", Integer, nullable=False),
            Column("host", String(255), nullable=False),
            Column("detail", Text, nullable=False),
        )


def flow_row(row: Any, lease: Lease) -> FlowRow:
    """A row of the table `flows` that was claimed just now."""
    return FlowRow(
        id=row.id, name=row.name, version=row.version, resource_id=row.resource_id, state=row.state, step=row.step,
        attempt=row.attempt, context=msgspec.json.decode(row.context, type=Context), data=row.data.encode(),
        cancel=row.cancel, settled=row.settled, fault=_fault(row.fault), deadline_at=row.deadline_at, lease=lease,
        taken_over=row.lease_owner,
    )


def summary(row: Any) -> FlowSummary:
    """A row of the table `flows` for people."""
    values: dict[str, Any] = {name: getattr(row, name) for name in FlowSummary.__struct_fields__}
    values["fault"] = _fault(row.fault)
    return FlowSummary(**values)


def _fault(text: str | None) -> Fault | None:
    return None if text is None else msgspec.json.decode(text, type=Fault)
