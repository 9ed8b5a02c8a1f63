"""What projects used in a period, from the times of their servers, the deleted ones too."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, select

from pileus.kernel.db import Tx
from pileus.services.compute.db.servers import SERVERS, Server, from_row


def servers_between(
    tx: Tx, start: datetime, stop: datetime, *, project_id: str | None = None, marker: str | None = None, limit: int
) -> list[Server] | None:
    """Servers that ran at some time of the period, by project and id. None when `marker` names no server."""
    table = SERVERS.c
    statement = select(SERVERS).where(
        table.launched_at.is_not(None), table.launched_at < stop,
        or_(table.terminated_at.is_(None), table.terminated_at >= start),
    )
    if project_id is not None:
        statement = statement.where(table.project_id == project_id)
    if marker is not None:
        row = tx.first(select(table.project_id).where(table.id == marker))
        if row is None:
            return None
        statement = statement.where(
            or_(table.project_id > row.project_id, (table.project_id == row.project_id) & (table.id > marker))
        )
    return [from_row(row) for row in tx.all(statement.order_by(table.project_id, table.id).limit(limit))]
