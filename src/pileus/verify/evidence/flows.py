"""The flows of every service that have not ended."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.kernel.flows import FlowStore
from pileus.kernel.flows.tables import ACTIVE_STATES


class FlowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A flow under way. settled: its resource has its final state, and only the clean-up goes on. known: whether this
    code has a definition of that name and version."""

    id: str
    service: str
    name: str
    version: int
    resource_id: str
    state: str
    step: int
    settled: bool
    deadline_at: datetime
    known: bool


def read(tx: Tx, store: FlowStore, service: str, definitions: frozenset[tuple[str, int]]) -> tuple[FlowRecord, ...]:
    """Those of one service, in one statement. definitions: name and version of the flows that the code knows."""
    f = store.flows.c
    columns = (f.id, f.name, f.version, f.resource_id, f.state, f.step, f.settled, f.deadline_at)
    rows = tx.all(select(*columns).where(f.state.in_(ACTIVE_STATES)).order_by(f.seq))
    return tuple(
        FlowRecord(**row._mapping, service=service, known=(row.name, row.version) in definitions) for row in rows
    )
