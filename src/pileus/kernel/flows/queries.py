"""What can be asked about flows: for traces, for checks, for the API."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select

from pileus.kernel.db import Tx
from pileus.kernel.flows.tables import ACTIVE_STATES, FlowSummary, FlowTables, summary

OVERDUE_MARGIN_S = 1_800.0
"""An active flow this long past its deadline is stuck: undoing takes less, or is settled."""
MAX_FOUND = 1_000


class FlowQueries(FlowTables):
    """Reading only."""

    def active(self, tx: Tx, resource_id: str) -> list[str]:
        """Names of the flows of a resource that have not ended, in order; those that only clean up are included."""
        rows = tx.all(
            select(self.flows.c.name)
            .where(self.flows.c.resource_id == resource_id, self.flows.c.state.in_(ACTIVE_STATES))
            .order_by(self.flows.c.seq)
        )
        return [row.name for row in rows]

    def cleaning_up(self, tx: Tx, resource_id: str | None = None) -> list[FlowSummary]:
        """Settled flows that have not ended: the resource has its final state, but something of it is still there.
        Of one resource, or of all."""
        found = select(self.flows).where(self.flows.c.settled, self.flows.c.state.in_(ACTIVE_STATES))
        if resource_id is not None:
            found = found.where(self.flows.c.resource_id == resource_id)
        return [summary(row) for row in tx.all(found.order_by(self.flows.c.seq).limit(MAX_FOUND))]

    def overdue(self, tx: Tx, now: datetime, margin_s: float = OVERDUE_MARGIN_S) -> list[FlowSummary]:
        """Active flows that are past their deadline by more than the margin and have not given their resource its final
        state, oldest first. There should be none."""
        late = now - timedelta(seconds=margin_s)
        rows = tx.all(
            select(self.flows)
            .where(self.flows.c.state.in_(ACTIVE_STATES), self.flows.c.deadline_at < late, ~self.flows.c.settled)
            .order_by(self.flows.c.seq).limit(MAX_FOUND)
        )
        return [summary(row) for row in rows]

    def unknown(self, tx: Tx, kinds: Collection[tuple[str, int]]) -> list[FlowSummary]:
        """Active flows of none of these kinds (name, version): left by newer code, or code was removed too early. They
        wait for a runner that knows them."""
        is_not = [or_(self.flows.c.name != name, self.flows.c.version != version) for name, version in kinds]
        found = select(self.flows).where(self.flows.c.state.in_(ACTIVE_STATES), *is_not)
        return [summary(row) for row in tx.all(found.order_by(self.flows.c.seq).limit(MAX_FOUND))]

    def of_resource(self, tx: Tx, resource_id: str) -> list[FlowSummary]:
        """All flows of a resource that are remembered, in the order of their start."""
        rows = tx.all(select(self.flows).where(self.flows.c.resource_id == resource_id).order_by(self.flows.c.seq))
        return [summary(row) for row in rows]

    def of_request(self, tx: Tx, request_id: str) -> list[FlowSummary]:
        """All flows that a request started, in order; `request_id` may be the global one."""
        rows = tx.all(select(self.flows).where(self._requested_by(request_id)).order_by(self.flows.c.seq))
        return [summary(row) for row in rows]

    def lines(self, tx: Tx, resource_id: str) -> list[Any]:
        """Journal lines of all flows of a resource, in order, each with its flow's name, state, resource, request and
        fault, and with `created_at` and `claimed_at`: between them it waited for a runner."""
        return self._lines(tx, self.flows.c.resource_id == resource_id)

    def lines_of_request(self, tx: Tx, request_id: str) -> list[Any]:
        """The same for all flows that a request started; `request_id` may be the global one."""
        return self._lines(tx, self._requested_by(request_id))

    def _requested_by(self, request_id: str) -> Any:
        return or_(self.flows.c.request_id == request_id, self.flows.c.global_request_id == request_id)

    def _lines(self, tx: Tx, which: Any) -> list[Any]:
        f, j = self.flows, self.journal
        about = (f.c.name, f.c.request_id, f.c.resource_id, f.c.state, f.c.fault, f.c.created_at, f.c.claimed_at)
        return tx.all(select(j, *about).join(f, f.c.id == j.c.flow_id).where(which).order_by(f.c.seq, j.c.seq))
