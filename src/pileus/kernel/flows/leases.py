"""Who runs which flow: claims, renewals, and the order among flows of one resource.

A claim is a lease for a time, renewed while its runner lives. Whether a write still has the right to happen is decided
not by time but by the lease's number, in the transaction of that write (`FlowStore.write_progress`): a runner that was
frozen, or whose clock jumped, cannot change a flow that another one has taken over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import and_, exists, or_, select, update

from pileus.kernel.db import Tx
from pileus.kernel.flows.tables import ACTIVE_STATES, FlowRow, FlowTables, Lease, LeaseLost, flow_row

FlowKind = tuple[str, int]
"""A flow's name and version."""


class FlowLeases(FlowTables):
    """The transactions of runners that are about who may run what."""

    def claim(
        self, tx: Tx, owner: str, lease_s: float, limit: int, kinds: Collection[FlowKind], but_for: Collection[str] = ()
    ) -> list[FlowRow]:
        """Take up to `limit` flows of these kinds that are due and that nobody runs, but for those with these ids.

        Flows of one resource run one after the other; see `_whose_turn` for what may overtake.
        """
        now = tx.now()
        due = {row.id: row.resource_id for row in tx.all(self._due(now, kinds, limit)) if row.id not in but_for}
        if not due:
            return []
        flows = self.flows
        # Locked, so that of two runners the second sees whom the first has taken.
        rows = tx.all(
            select(flows)
            .where(flows.c.resource_id.in_(sorted(set(due.values()))), flows.c.state.in_(ACTIVE_STATES))
            .order_by(flows.c.resource_id, flows.c.seq)
            .with_for_update()
        )
        queues = [list(queue) for _, queue in groupby(rows, key=lambda row: row.resource_id)]
        taken = [row for row in (_whose_turn(queue, now) for queue in queues) if row is not None and row.id in due]
        return [self._take(tx, row, owner, lease_s) for row in sorted(taken, key=lambda row: row.seq)]

    def renew(self, tx: Tx, leases: Mapping[str, Lease], lease_s: float) -> list[str]:
        """Keep these leases, by flow id. Returns the flows that have gone to somebody else meanwhile."""
        rows = tx.all(
            select(self.flows.c.id, self.flows.c.lease_owner, self.flows.c.lease_no)
            .where(self.flows.c.id.in_(list(leases)), self.flows.c.state.in_(ACTIVE_STATES)).with_for_update()
        )
        kept = [row.id for row in rows if Lease(row.lease_owner or "", row.lease_no) == leases[row.id]]
        until = tx.now() + timedelta(seconds=lease_s)
        tx.execute(update(self.flows).where(self.flows.c.id.in_(kept)).values(lease_until=until))
        return [flow_id for flow_id in leases if flow_id not in kept]

    def release_all(self, tx: Tx, owner: str) -> None:
        """Give up all leases of a runner: it starts or ends, so nothing of its name runs."""
        tx.execute(
            update(self.flows).where(self.flows.c.state.in_(ACTIVE_STATES), self.flows.c.lease_owner == owner)
            .values(lease_until=None)
        )

    def check(self, tx: Tx, flow_id: str, lease: Lease) -> None:
        """Raise `LeaseLost` unless the flow is still run under this lease; it stays so until the transaction ends."""
        held = tx.first(
            select(self.flows.c.lease_owner, self.flows.c.lease_no)
            .where(self.flows.c.id == flow_id).with_for_update()
        )
        if held is None or Lease(held.lease_owner or "", held.lease_no) != lease:
            raise LeaseLost(flow_id)

    def _due(self, now: datetime, kinds: Collection[FlowKind], limit: int) -> Any:
        flows, earlier = self.flows, self.flows.alias()
        waits_for_another = exists().where(
            earlier.c.resource_id == flows.c.resource_id, earlier.c.seq < flows.c.seq,
            earlier.c.state.in_(ACTIVE_STATES), ~earlier.c.settled,
        )
        return (
            select(flows.c.id, flows.c.resource_id)
            .where(
                flows.c.state.in_(ACTIVE_STATES),
                flows.c.next_run_at <= now,
                or_(flows.c.lease_until.is_(None), flows.c.lease_until < now),
                or_(*(and_(flows.c.name == name, flows.c.version == version) for name, version in kinds)),
                ~waits_for_another,
            )
            .order_by(flows.c.seq)
            .limit(limit)
        )

    def _take(self, tx: Tx, row: Any, owner: str, lease_s: float) -> FlowRow:
        now, lease = tx.now(), Lease(owner, row.lease_no + 1)
        tx.execute(
            update(self.flows).where(self.flows.c.id == row.id).values(
                lease_owner=owner, lease_no=lease.number, lease_until=now + timedelta(seconds=lease_s),
                claimed_at=row.claimed_at or now,
            )
        )
        return flow_row(row, lease)


def _whose_turn(queue: Iterable[Any], now: datetime) -> Any | None:
    """Which of the active flows of one resource may run, if any may; `queue` is in the order of their start.

    The first one, and one at a time. But a settled flow, of which only the clean-up is left, lets those before that
    need not wait for its end: one that takes everything away anyhow, and one that will only be undone because it was
    cancelled or is too old. They are bounded in time, so the clean-up goes on after them.
    """
    queue = list(queue)
    if any(row.lease_until is not None and row.lease_until >= now for row in queue):
        return None
    first = next((row for row in queue if not row.settled), None)
    clean_up = next((row for row in queue if row.settled), None)
    if first is None or clean_up is None:
        return first or clean_up
    may_pass = first.overtakes or first.cancel or first.deadline_at <= now
    return first if may_pass else clean_up
