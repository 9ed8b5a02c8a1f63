"""Where flows live: two tables in the service's own database, written in the same transaction as the intent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Insert, MetaData, Table, bindparam, delete, func, select, update

from pileus.kernel import context as ctx
from pileus.kernel.context import Context
from pileus.kernel.db import Tx
from pileus.kernel.flows.definition import Flow
from pileus.kernel.flows.leases import FlowLeases
from pileus.kernel.flows.queries import FlowQueries
from pileus.kernel.flows.tables import ACTIVE_STATES, DONE, FAILED, MAX_DETAIL_CHARS, RUNNING, Fault, Lease, LeaseLost

__all__ = ["Fault", "FlowStore"]


class FlowStore(FlowLeases, FlowQueries):
    """The tables and their transactions. One per service; make it where the service's tables are made."""

    def __init__(self, metadata: MetaData) -> None:
        super().__init__(metadata)
        self._doorbells: list[Callable[[], None]] = []
        # Made once: they run with every step of every flow.
        self._one_flow = update(self.flows).where(
            self.flows.c.id == bindparam("the_id"), self.flows.c.lease_owner == bindparam("the_owner"),
            self.flows.c.lease_no == bindparam("the_number"),
        )
        self._next_line = _numbered_insert(self.journal)

    def on_start(self, ring: Callable[[], None]) -> Callable[[], None]:
        """Have `ring` called after a transaction here that started or cancelled a flow; returns what ends that."""
        self._doorbells.append(ring)
        return lambda: self._doorbells.remove(ring)

    def start(self, tx: Tx, flow: Flow, resource_id: str, data: Any, context: Context | None = None) -> str:
        """Record a flow; it runs once the transaction is committed. Returns its id."""
        now, context = tx.now(), context or ctx.current()
        flow_id = tx.clock.new_id()
        tx.execute(
            self.flows.insert().values(
                id=flow_id, name=flow.name, version=flow.version, resource_id=resource_id,
                request_id=context.request_id, global_request_id=context.global_request_id, state=RUNNING, step=0,
                attempt=0, context=msgspec.json.encode(context).decode(), data=msgspec.json.encode(data).decode(),
                cancel=False, overtakes=flow.overtakes, settled=False, lease_no=0, next_run_at=now,
                deadline_at=now + timedelta(seconds=flow.deadline_s), created_at=now,
            )
        )
        self._ring(tx)
        return flow_id

    def cancel(self, tx: Tx, resource_id: str) -> int:
        """Ask every active flow of a resource to stop and undo itself, now. Returns how many there are."""
        result = tx.execute(
            update(self.flows)
            .where(self.flows.c.resource_id == resource_id, self.flows.c.state.in_(ACTIVE_STATES))
            .values(cancel=True, next_run_at=tx.now())
        )
        self._ring(tx)
        return result.rowcount

    def cancelled(self, tx: Tx, flow_ids: list[str]) -> list[str]:
        """Which of these flows were asked to stop."""
        rows = tx.all(select(self.flows.c.id).where(self.flows.c.id.in_(flow_ids), self.flows.c.cancel))
        return [row.id for row in rows]

    def write_progress(
        self, tx: Tx, flow_id: str, *, lease: Lease, host: str, at_step: str, event: str, duration_ms: int, detail: str,
        at_attempt: int = 0, attempt: int = 0, run_again_at: datetime | None = None, **changes: Any,
    ) -> None:
        """One journal line and the flow's new position, together, if the lease still holds; else `LeaseLost`.

        at_attempt: which attempt the line is about, 0 the first. attempt: which one is the next of the flow's step.
        run_again_at: the flow is handed back until then. changes: other columns of the flow.
        """
        values = {"the_id": flow_id, "the_owner": lease.owner, "the_number": lease.number}
        values |= {"attempt": attempt, **changes}
        if changes.get("state") in (DONE, FAILED):
            values |= {"ended_at": tx.now(), "lease_owner": None, "lease_until": None}
        elif run_again_at is not None:
            values |= {"next_run_at": run_again_at, "lease_owner": None, "lease_until": None}
        if tx.execute(self._one_flow, values).rowcount != 1:
            raise LeaseLost(flow_id)
        line = {
            "flow_id": flow_id, "step": at_step, "event": event, "attempt": at_attempt, "at": tx.now(),
            "duration_ms": duration_ms, "host": host, "detail": detail[:MAX_DETAIL_CHARS],
        }
        tx.execute(self._next_line, {f"the_{name}": value for name, value in line.items()})

    def hand_back(self, tx: Tx, flow_id: str, lease: Lease, run_again_at: datetime) -> None:
        """End a lease without a word in the journal."""
        self.check(tx, flow_id, lease)
        tx.execute(
            update(self.flows).where(self.flows.c.id == flow_id)
            .values(next_run_at=run_again_at, lease_owner=None, lease_until=None)
        )

    def prune(self, tx: Tx, before: datetime, limit: int = 1_000) -> int:
        """Forget flows that ended before a time, at most `limit`. Returns how many there were."""
        rows = tx.all(select(self.flows.c.id).where(self.flows.c.ended_at < before).limit(limit))
        ids = [row.id for row in rows]
        tx.execute(delete(self.journal).where(self.journal.c.flow_id.in_(ids)))
        tx.execute(delete(self.flows).where(self.flows.c.id.in_(ids)))
        return len(ids)

    def _ring(self, tx: Tx) -> None:
        def ring() -> None:
            for bell in list(self._doorbells):
                bell()

        tx.after_commit(ring)


def _numbered_insert(journal: Table) -> Insert:
    """Add a line (its columns as parameters `the_<column>`) with the next number of its flow, in one statement."""
    given = [column for column in journal.c if column.name != "seq"]
    number = func.coalesce(func.max(journal.c.seq) + 1, 0)
    values = [bindparam(f"the_{column.name}", type_=column.type) for column in given]
    line = select(number, *values).where(journal.c.flow_id == bindparam("the_flow_id"))
    return journal.insert().from_select([journal.c.seq, *given], line)
