"""Services of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, String, Table, Text, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.kernel.db import Json, Tx
from pileus.services.identity.db.filters import Filter, Window, as_struct, narrowed, page
from pileus.services.identity.db.metadata import METADATA

SERVICES = Table(
    "services",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("type", String(255), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("extra", Json, nullable=False),
)


class CatalogService(msgspec.Struct, frozen=True, kw_only=True):
    """A service as the catalogue lists it."""

    id: str
    type: str
    name: str
    description: str
    enabled: bool
    extra: dict[str, Any]


def get(tx: Tx, service_id: str) -> CatalogService | None:
    """A service by id."""
    row = tx.first(select(SERVICES).where(SERVICES.c.id == service_id))
    return None if row is None else as_struct(CatalogService, row)


def get_by_type(tx: Tx, kind: str) -> CatalogService | None:
    """The first service of a type."""
    row = tx.first(select(SERVICES).where(SERVICES.c.type == kind).order_by(SERVICES.c.id))
    return None if row is None else as_struct(CatalogService, row)


def insert(tx: Tx, service: CatalogService) -> None:
    """Store a new service."""
    tx.execute(SERVICES.insert().values(**{n: getattr(service, n) for n in CatalogService.__struct_fields__}))


def update(tx: Tx, service_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns."""
    if changes:
        tx.execute(sql_update(SERVICES).where(SERVICES.c.id == service_id).values(**changes))


def delete(tx: Tx, service_id: str) -> None:
    """Delete one; its endpoints are the caller's business."""
    tx.execute(sql_delete(SERVICES).where(SERVICES.c.id == service_id))


def listing(tx: Tx, filters: tuple[Filter, ...], window: Window) -> list[CatalogService]:
    """One page of services."""
    rows = page(tx, narrowed(select(SERVICES), SERVICES, filters), SERVICES, window)
    return [as_struct(CatalogService, row) for row in rows]
