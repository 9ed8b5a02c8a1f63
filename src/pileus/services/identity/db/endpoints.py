"""Endpoints of the catalogue, and the catalogue itself."""

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
from pileus.services.identity.db.services import SERVICES

INTERFACES = ("public", "internal", "admin")

ENDPOINTS = Table(
    "endpoints",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("service_id", String(64), nullable=False, index=True),
    Column("region_id", String(255), index=True),
    Column("interface", String(8), nullable=False),
    Column("url", Text, nullable=False),
    Column("name", String(255)),
    Column("enabled", Boolean, nullable=False),
    Column("extra", Json, nullable=False),
)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service is. url may contain `$(project_id)s` and the like, filled in for each token."""

    id: str
    service_id: str
    region_id: str | None
    interface: str
    url: str
    name: str | None = None
    enabled: bool = True
    extra: dict[str, Any] = {}


class CatalogEntry(msgspec.Struct, frozen=True):
    """One enabled endpoint of an enabled service."""

    service_id: str
    service_type: str
    service_name: str
    endpoint_id: str
    interface: str
    region_id: str | None
    url: str


def get(tx: Tx, endpoint_id: str) -> Endpoint | None:
    """An endpoint by id."""
    row = tx.first(select(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id))
    return None if row is None else as_struct(Endpoint, row)


def insert(tx: Tx, endpoint: Endpoint) -> None:
    """Store a new endpoint."""
    tx.execute(ENDPOINTS.insert().values(**{name: getattr(endpoint, name) for name in Endpoint.__struct_fields__}))


def update(tx: Tx, endpoint_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns."""
    if changes:
        tx.execute(sql_update(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id).values(**changes))


def delete(tx: Tx, endpoint_id: str) -> None:
    """Delete one."""
    tx.execute(sql_delete(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id))


def delete_of_service(tx: Tx, service_id: str) -> None:
    """Delete all of a service that is deleted."""
    tx.execute(sql_delete(ENDPOINTS).where(ENDPOINTS.c.service_id == service_id))


def of_service(tx: Tx, service_id: str, region_id: str) -> list[Endpoint]:
    """A service's endpoints in a region."""
    query = select(ENDPOINTS).where(ENDPOINTS.c.service_id == service_id, ENDPOINTS.c.region_id == region_id)
    return [as_struct(Endpoint, row) for row in tx.all(query)]


def region_in_use(tx: Tx, region_id: str) -> bool:
    """Whether an endpoint is in the region."""
    return tx.first(select(ENDPOINTS.c.id).where(ENDPOINTS.c.region_id == region_id)) is not None


def listing(tx: Tx, filters: tuple[Filter, ...], window: Window) -> list[Endpoint]:
    """One page of endpoints."""
    rows = page(tx, narrowed(select(ENDPOINTS), ENDPOINTS, filters), ENDPOINTS, window)
    return [as_struct(Endpoint, row) for row in rows]


_CATALOG = (
    select(
        SERVICES.c.id, SERVICES.c.type, SERVICES.c.name, ENDPOINTS.c.id, ENDPOINTS.c.interface, ENDPOINTS.c.region_id,
        ENDPOINTS.c.url,
    )
    .join(ENDPOINTS, ENDPOINTS.c.service_id == SERVICES.c.id)
    .where(SERVICES.c.enabled.is_(True), ENDPOINTS.c.enabled.is_(True))
    .order_by(SERVICES.c.type, SERVICES.c.id, ENDPOINTS.c.region_id, ENDPOINTS.c.interface)
)


def catalog(tx: Tx) -> list[CatalogEntry]:
    """Every enabled endpoint of every enabled service, by service type."""
    return [CatalogEntry(*row) for row in tx.all(_CATALOG)]
