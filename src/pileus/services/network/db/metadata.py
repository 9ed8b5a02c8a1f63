"""Where all tables of the network service are declared, the columns that every resource has, and small tables."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Integer, MetaData, String, Table, update
from sqlalchemy.exc import IntegrityError

from pileus.kernel.db import Tx, UtcDateTime
from pileus.kernel.quota import quota_table

METADATA = MetaData()
QUOTAS = quota_table(METADATA)

ID_CHARS = 36
PROJECT_CHARS = 64
NAME_CHARS = 255
HOST_CHARS = 255


class Standard(msgspec.Struct, frozen=True, kw_only=True):
    """What every resource has. Times are aware UTC; the revision number goes up with every change."""

    id: str
    project_id: str
    description: str
    created_at: datetime
    updated_at: datetime
    revision_number: int
    tags: tuple[str, ...] = ()


def standard_columns() -> tuple[Column[Any], ...]:
    """Fresh columns for `Standard`."""
    return (
        Column("id", String(ID_CHARS), primary_key=True),
        Column("project_id", String(PROJECT_CHARS), nullable=False, index=True),
        Column("description", String(NAME_CHARS), nullable=False, default=""),
        Column("created_at", UtcDateTime, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
        Column("revision_number", Integer, nullable=False, default=0),
    )


def stamped(tx: Tx, values: dict[str, Any]) -> dict[str, Any]:
    """`values` of a new row with id, times and the first revision."""
    now = tx.now()
    return {"id": tx.clock.new_id(), "created_at": now, "updated_at": now, "revision_number": 1, **values}


def revise(tx: Tx, table: Table, ids: Iterable[str], values: dict[str, Any] | None = None) -> int:
    """Change rows, which makes them a revision older; returns how many there were."""
    wanted = list(ids)
    if not wanted:
        return 0
    changes = dict(values or {})
    changes |= {"updated_at": tx.now(), "revision_number": table.c.revision_number + 1}
    return tx.execute(update(table).where(table.c.id.in_(wanted)).values(**changes)).rowcount


def insert_unless_taken(tx: Tx, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row; False (and nothing done) if a unique value of it is taken, now or by somebody faster.

    Both engines undo just the failed statement, so no savepoint is needed.
    """
    try:
        tx.execute(table.insert(), values)
    except IntegrityError:
        return False
    return True
