"""Compute's own services: who runs where, seen when, and whether operators let it work."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Integer, String, Table, UniqueConstraint, delete, select, update

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.compute.db.metadata import METADATA

DOWN_AFTER_S = 75.0
COMPUTE, CONDUCTOR, SCHEDULER = "nova-compute", "nova-conductor", "nova-scheduler"

SERVICES = Table(
    "services",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("host", String(255), nullable=False),
    Column("binary", String(255), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("disabled_reason", String(255)),
    Column("forced_down", Boolean, nullable=False),
    Column("last_seen_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("host", "binary", name="uq_services_host_binary"),
)


class ServiceRow(msgspec.Struct, frozen=True):
    """A row of the table. `binary` is the name that operators' tools know."""

    id: int
    uuid: str
    host: str
    binary: str
    disabled: bool
    disabled_reason: str | None
    forced_down: bool
    last_seen_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def is_up(self, now: datetime) -> bool:
        """Whether it reported lately and is not forced down."""
        if self.forced_down or self.last_seen_at is None:
            return False
        return now - self.last_seen_at <= timedelta(seconds=DOWN_AFTER_S)


def _from_row(row: Any) -> ServiceRow:
    return ServiceRow(**row._mapping)


def beat(tx: Tx, host: str, binary: str) -> ServiceRow:
    """A service reported: remember when; made known the first time."""
    now = tx.now()
    seen = tx.execute(
        update(SERVICES).where(SERVICES.c.host == host, SERVICES.c.binary == binary)
        .values(last_seen_at=now, updated_at=now)
    )
    if seen.rowcount == 0:
        tx.execute(
            SERVICES.insert().values(
                uuid=tx.clock.new_id(), host=host, binary=binary, disabled=False, forced_down=False, last_seen_at=now,
                created_at=now, updated_at=now,
            )
        )
    found = by_host(tx, host, binary)
    assert found is not None
    return found


def by_host(tx: Tx, host: str, binary: str) -> ServiceRow | None:
    """The service of that name on a host."""
    row = tx.first(select(SERVICES).where(SERVICES.c.host == host, SERVICES.c.binary == binary))
    return None if row is None else _from_row(row)


def get(tx: Tx, service_id: str) -> ServiceRow | None:
    """A service by uuid, or by number before 2.53."""
    by_number = SERVICES.c.id == int(service_id) if service_id.isdecimal() and len(service_id) < 10 else None
    row = tx.first(select(SERVICES).where(SERVICES.c.uuid == service_id if by_number is None else by_number))
    return None if row is None else _from_row(row)


def all_rows(tx: Tx, *, host: str | None = None, binary: str | None = None) -> list[ServiceRow]:
    """All services, in order of their making."""
    statement = select(SERVICES).order_by(SERVICES.c.id)
    if host is not None:
        statement = statement.where(SERVICES.c.host == host)
    if binary is not None:
        statement = statement.where(SERVICES.c.binary == binary)
    return [_from_row(row) for row in tx.all(statement)]


def change(tx: Tx, uuid: str, **values: Any) -> None:
    """Set columns."""
    tx.execute(update(SERVICES).where(SERVICES.c.uuid == uuid).values(updated_at=tx.now(), **values))


def remove(tx: Tx, uuid: str) -> None:
    """Forget a service; if it still runs it will be known again at its next report."""
    tx.execute(delete(SERVICES).where(SERVICES.c.uuid == uuid))
