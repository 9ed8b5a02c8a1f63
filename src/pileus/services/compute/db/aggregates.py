"""Host aggregates: named sets of hosts with metadata; one with `availability_zone` in it is an availability zone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Integer, String, Table, delete, select, update

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.compute.db.metadata import METADATA

ZONE_KEY = "availability_zone"
DEFAULT_ZONE = "nova"
INTERNAL_ZONE = "internal"

AGGREGATES = Table(
    "aggregates",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("hosts", Json, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime),
)


class Aggregate(msgspec.Struct, frozen=True):
    """A row of the table."""

    id: int
    uuid: str
    name: str
    hosts: list[str]
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime | None

    @property
    def zone(self) -> str | None:
        """The availability zone that this aggregate makes, if any."""
        return self.metadata.get(ZONE_KEY)


def _from_row(row: Any) -> Aggregate:
    return Aggregate(**row._mapping)


def all_rows(tx: Tx) -> list[Aggregate]:
    """All aggregates."""
    return [_from_row(row) for row in tx.all(select(AGGREGATES).order_by(AGGREGATES.c.id))]


def get(tx: Tx, aggregate_id: str) -> Aggregate | None:
    """An aggregate by number."""
    if not aggregate_id.isdecimal() or len(aggregate_id) > 9:
        return None
    row = tx.first(select(AGGREGATES).where(AGGREGATES.c.id == int(aggregate_id)))
    return None if row is None else _from_row(row)


def insert(tx: Tx, name: str, zone: str | None) -> Aggregate:
    """Add one; the caller has seen that the name is free."""
    values: dict[str, Any] = {
        "uuid": tx.clock.new_id(), "name": name, "hosts": [], "metadata": {ZONE_KEY: zone} if zone else {},
        "created_at": tx.now(), "updated_at": None,
    }
    (key,) = tx.execute(AGGREGATES.insert().values(**values)).inserted_primary_key or (0,)
    return Aggregate(id=key, **values)


def change(tx: Tx, aggregate_id: int, **values: Any) -> None:
    """Set columns."""
    tx.execute(update(AGGREGATES).where(AGGREGATES.c.id == aggregate_id).values(updated_at=tx.now(), **values))


def remove(tx: Tx, aggregate_id: int) -> None:
    """Delete one."""
    tx.execute(delete(AGGREGATES).where(AGGREGATES.c.id == aggregate_id))


def zones_by_host(tx: Tx) -> dict[str, str]:
    """The availability zone of each host that an aggregate puts into one."""
    return {host: item.zone for item in all_rows(tx) if item.zone for host in item.hosts}


def zone_of(tx: Tx, host: str) -> str:
    """A host's availability zone."""
    return zones_by_host(tx).get(host, DEFAULT_ZONE)
