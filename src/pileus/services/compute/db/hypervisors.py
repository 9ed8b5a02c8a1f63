"""Hypervisors: what each host's agent reported last. The uuid is also that of the host's resource provider."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Integer, String, Table, delete, select, update

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.compute.db.metadata import METADATA
from pileus.services.compute.rpc import HostReport

HYPERVISORS = Table(
    "hypervisors",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("host", String(255), nullable=False, unique=True),
    Column("report", Json, nullable=False),
    Column("reported_at", UtcDateTime, nullable=False),
)


class Hypervisor(msgspec.Struct, frozen=True):
    """A row of the table."""

    id: int
    uuid: str
    host: str
    report: HostReport
    reported_at: datetime


def _from_row(row: Any) -> Hypervisor:
    report = msgspec.convert(row.report, HostReport)
    return Hypervisor(row.id, row.uuid, row.host, report, row.reported_at)


def save(tx: Tx, report: HostReport) -> Hypervisor:
    """Keep a host's newest report."""
    values = {"report": report, "reported_at": tx.now()}
    known = tx.execute(update(HYPERVISORS).where(HYPERVISORS.c.host == report.host).values(**values))
    if known.rowcount == 0:
        tx.execute(HYPERVISORS.insert().values(uuid=tx.clock.new_id(), host=report.host, **values))
    row = tx.first(select(HYPERVISORS).where(HYPERVISORS.c.host == report.host))
    return _from_row(row)


def all_rows(tx: Tx) -> list[Hypervisor]:
    """All hypervisors, in order of their making."""
    return [_from_row(row) for row in tx.all(select(HYPERVISORS).order_by(HYPERVISORS.c.id))]


def get(tx: Tx, hypervisor_id: str) -> Hypervisor | None:
    """A hypervisor by uuid, or by number before 2.53."""
    is_number = hypervisor_id.isdecimal() and len(hypervisor_id) < 10
    wanted = HYPERVISORS.c.id == int(hypervisor_id) if is_number else HYPERVISORS.c.uuid == hypervisor_id
    row = tx.first(select(HYPERVISORS).where(wanted))
    return None if row is None else _from_row(row)


def of_host(tx: Tx, host: str) -> Hypervisor | None:
    """The hypervisor of a host."""
    row = tx.first(select(HYPERVISORS).where(HYPERVISORS.c.host == host))
    return None if row is None else _from_row(row)


def remove(tx: Tx, host: str) -> None:
    """Forget a host's hypervisor."""
    tx.execute(delete(HYPERVISORS).where(HYPERVISORS.c.host == host))
