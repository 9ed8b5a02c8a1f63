"""Server groups: sets of servers that should be together, or apart. Members are the servers that name the group."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Index, String, Table, delete, func, select

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.compute.db.metadata import METADATA
from pileus.services.compute.db.servers import SERVERS

GROUPS = Table(
    "server_groups",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("policy", String(32), nullable=False),
    Column("rules", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_server_groups_project", "project_id", "created_at"),
)


class ServerGroup(msgspec.Struct, frozen=True):
    """A row of the table."""

    id: str
    project_id: str
    user_id: str
    name: str
    policy: str
    rules: dict[str, int]
    created_at: datetime


def _from_row(row: Any) -> ServerGroup:
    return ServerGroup(**row._mapping)


def insert(tx: Tx, group: ServerGroup) -> None:
    """Add one."""
    tx.execute(GROUPS.insert().values(**msgspec.structs.asdict(group)))


def get(tx: Tx, group_id: str) -> ServerGroup | None:
    """A group by id."""
    row = tx.first(select(GROUPS).where(GROUPS.c.id == group_id))
    return None if row is None else _from_row(row)


def of_project(tx: Tx, project_id: str | None, *, limit: int, offset: int) -> list[ServerGroup]:
    """Groups of a project, or of all."""
    statement = select(GROUPS).order_by(GROUPS.c.created_at, GROUPS.c.id).limit(limit).offset(offset)
    if project_id is not None:
        statement = statement.where(GROUPS.c.project_id == project_id)
    return [_from_row(row) for row in tx.all(statement)]


def remove(tx: Tx, group_id: str) -> bool:
    """Delete one. False when it was not there."""
    return tx.execute(delete(GROUPS).where(GROUPS.c.id == group_id)).rowcount > 0


def members(tx: Tx, group_ids: list[str]) -> dict[str, list[str]]:
    """Live servers of each of these groups."""
    found: dict[str, list[str]] = {group_id: [] for group_id in group_ids}
    rows = tx.all(
        select(SERVERS.c.id, SERVERS.c.server_group_id)
        .where(SERVERS.c.server_group_id.in_(group_ids), SERVERS.c.deleted_at.is_(None))
        .order_by(SERVERS.c.created_at)
    )
    for row in rows:
        found[row.server_group_id].append(row.id)
    return found


def count_of_project(tx: Tx, project_id: str) -> int:
    """How many a project has."""
    return tx.scalar(select(func.count()).select_from(GROUPS).where(GROUPS.c.project_id == project_id)) or 0
