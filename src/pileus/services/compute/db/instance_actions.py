"""What was done to a server, read from the journal of its flows: the journal is the record, there is no second one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select

from pileus.kernel.context import Context
from pileus.kernel.db import Tx
from pileus.kernel.flows import Fault
from pileus.kernel.flows.tables import ACTIVE_STATES, RUNNING
from pileus.services.compute.db.metadata import FLOWS

ACTION_NAMES = {
    "create_server": "create", "delete_server": "delete", "start_server": "start", "stop_server": "stop",
    "reboot_server": "reboot",
}

EVENT_NAMES = {
    ("create_server", "start"): "compute__do_build_and_run_instance",
    ("delete_server", "destroy"): "compute_terminate_instance",
    ("start_server", "start"): "compute_start_instance",
    ("stop_server", "stop"): "compute_stop_instance",
    ("reboot_server", "reboot"): "compute_reboot_instance",
}
"""Steps after which tools of the public API look by these names: a server is there, or gone, when they succeed."""

FAILURES = frozenset({"failed", "cancelled", "retry", "undo retry", "settled"})
UNDOS = frozenset({"undone", "undo retry", "settled"})
NO_STEPS = frozenset({"resumed"})
END = "end"


class Event(msgspec.Struct, frozen=True):
    """One attempt of a step of an action. finished_at, result: None while it runs. detail: what its owner may read when
    it failed. trace: what operators may read then."""

    name: str
    started_at: datetime
    finished_at: datetime | None
    result: str | None
    host: str
    detail: str = ""
    trace: str = ""


class UnderWay(msgspec.Struct, frozen=True):
    """Where an action that has not ended is: the number of the step, since when, who runs it (empty: nobody now)."""

    step: int
    undoing: bool
    since: datetime
    host: str


class Action(msgspec.Struct, frozen=True):
    """One thing that was done. `message`: None, or "Error" when it failed."""

    name: str
    server_id: str
    request_id: str
    user_id: str | None
    project_id: str | None
    started_at: datetime
    updated_at: datetime
    message: str | None
    fault: Fault | None
    flow_id: str
    flow_name: str
    version: int
    under_way: UnderWay | None


def of_server(
    tx: Tx, server_id: str, *, since: datetime | None = None, before: datetime | None = None, limit: int,
    marker: str | None = None,
) -> list[Action] | None:
    """Actions, newest first, after the one whose request id is `marker`. None when there is no such marker."""
    f = FLOWS.flows
    statement = select(f).where(f.c.resource_id == server_id).order_by(f.c.seq.desc())
    if marker is not None:
        at = tx.scalar(select(f.c.seq).where(f.c.resource_id == server_id, f.c.request_id == marker))
        if at is None:
            return None
        statement = statement.where(f.c.seq < at)
    last = {row.flow_id: row.at for row in FLOWS.lines(tx, server_id)}
    found = [_action(row, last.get(row.id)) for row in tx.all(statement)]
    if since is not None:
        found = [action for action in found if action.updated_at >= since]
    if before is not None:
        found = [action for action in found if action.updated_at <= before]
    return found[:limit]


def by_request(tx: Tx, server_id: str, request_id: str) -> Action | None:
    """One action."""
    f = FLOWS.flows
    row = tx.first(select(f).where(f.c.resource_id == server_id, f.c.request_id == request_id).order_by(f.c.seq.desc()))
    if row is None:
        return None
    j = FLOWS.journal
    last = tx.scalar(select(j.c.at).where(j.c.flow_id == row.id).order_by(j.c.seq.desc()).limit(1))
    return _action(row, last)


def events(tx: Tx, action: Action) -> list[Event]:
    """The steps of an action that are over, in order."""
    j = FLOWS.journal
    found = []
    for line in tx.all(select(j).where(j.c.flow_id == action.flow_id, j.c.step != END).order_by(j.c.seq)):
        if line.event in NO_STEPS:
            continue
        failed = line.event in FAILURES
        found.append(Event(
            name=event_name(action, line.step, undone=line.event in UNDOS),
            started_at=line.at - timedelta(milliseconds=line.duration_ms), finished_at=line.at,
            result="Error" if failed else "Success", host=line.host, detail=line.detail if failed else "",
            trace=_trace(action, line) if failed else "",
        ))
    return found


def event_name(action: Action, step: str, *, undone: bool = False) -> str:
    """What users read as the name of a step."""
    name = EVENT_NAMES.get((action.flow_name, step)) or f"compute_{step}"
    return f"{name} (undone)" if undone else name


def _trace(action: Action, line: Any) -> str:
    fault = action.fault
    if fault is None or line.event not in ("failed", "cancelled"):
        return f"{line.step}: {line.event}: {line.detail}"
    return f"{fault.step or line.step}: {fault.type}: {fault.text}" + (f"\n{fault.detail}" if fault.detail else "")


def _action(row: Any, last_line: datetime | None) -> Action:
    context = msgspec.json.decode(row.context, type=Context)
    fault = msgspec.json.decode(row.fault, type=Fault) if row.fault else None
    under_way = None
    if row.state in ACTIVE_STATES:
        host = (row.lease_owner or "").partition(":")[0] if row.lease_until is not None else ""
        under_way = UnderWay(row.step, row.state != RUNNING, last_line or row.claimed_at or row.created_at, host)
    return Action(
        name=ACTION_NAMES.get(row.name) or str(row.name), server_id=row.resource_id, request_id=row.request_id,
        user_id=context.user_id, project_id=context.project_id, started_at=row.created_at,
        updated_at=row.ended_at or last_line or row.created_at, message="Error" if fault is not None else None,
        fault=fault, flow_id=row.id, flow_name=row.name, version=row.version, under_way=under_way,
    )
