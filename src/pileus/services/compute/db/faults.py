"""Faults of servers: why the last thing went wrong."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Column, Index, Integer, String, Table, Text, delete, func, select

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.compute.db.metadata import METADATA

MAX_DETAILS_CHARS = 8_000

FAULTS = Table(
    "server_faults",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("server_id", String(36), nullable=False),
    Column("code", Integer, nullable=False),
    Column("message", String(255), nullable=False),
    Column("details", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_server_faults", "server_id", "id"),
)


class NewFault(msgspec.Struct, frozen=True):
    """What went wrong: an HTTP-like code, the user's sentence, and details for administrators."""

    code: int
    message: str
    details: str = ""


class Fault(NewFault, frozen=True):
    """A stored fault."""

    created_at: datetime | None = None


def insert(tx: Tx, server_id: str, fault: NewFault) -> None:
    """Record a fault."""
    tx.execute(
        FAULTS.insert().values(
            server_id=server_id, code=fault.code, message=fault.message[:255],
            details=fault.details[:MAX_DETAILS_CHARS], created_at=tx.now(),
        )
    )


def latest(tx: Tx, server_ids: list[str]) -> dict[str, Fault]:
    """The newest fault of each of these servers."""
    if not server_ids:
        return {}
    newest = select(func.max(FAULTS.c.id)).where(FAULTS.c.server_id.in_(server_ids)).group_by(FAULTS.c.server_id)
    rows = tx.all(select(FAULTS).where(FAULTS.c.id.in_(newest)))
    return {row.server_id: Fault(row.code, row.message, row.details, row.created_at) for row in rows}


def forget(tx: Tx, server_ids: list[str]) -> None:
    """Remove the faults of servers that are pruned."""
    tx.execute(delete(FAULTS).where(FAULTS.c.server_id.in_(server_ids)))
