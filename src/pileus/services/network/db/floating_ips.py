"""Floating IPs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, ForeignKey, String, Table, UniqueConstraint, delete, func, select
from sqlalchemy.sql import ColumnElement

from pileus.kernel.db import Tx
from pileus.services.network.db import tags
from pileus.services.network.db.listing import Filter, ListQuery, select_page
from pileus.services.network.db.metadata import ID_CHARS, METADATA, NAME_CHARS, Standard, standard_columns
from pileus.services.network.db.subnets import ADDRESS_CHARS


class FloatingIp(Standard, frozen=True, kw_only=True):
    """A floating IP. floating_port_id: the port that holds the address; port_id, fixed_ip_address: where it leads."""

    floating_network_id: str
    floating_port_id: str
    floating_ip_address: str
    port_id: str | None
    fixed_ip_address: str | None
    router_id: str | None
    status: str
    dns_name: str
    dns_domain: str


FLOATING_IPS = Table(
    "floating_ips",
    METADATA,
    *standard_columns(),
    Column("floating_network_id", String(ID_CHARS), ForeignKey("networks.id"), nullable=False, index=True),
    Column("floating_port_id", String(ID_CHARS), ForeignKey("ports.id"), nullable=False, unique=True),
    Column("floating_ip_address", String(ADDRESS_CHARS), nullable=False),
    Column("port_id", String(ID_CHARS), ForeignKey("ports.id")),
    Column("fixed_ip_address", String(ADDRESS_CHARS)),
    Column("router_id", String(ID_CHARS), ForeignKey("routers.id"), index=True),
    Column("status", String(16), nullable=False),
    Column("dns_name", String(NAME_CHARS), nullable=False),
    Column("dns_domain", String(NAME_CHARS), nullable=False),
    UniqueConstraint("port_id", "fixed_ip_address", "floating_network_id"),
)

FILTERS: dict[str, Filter] = {
    **{
        name: FLOATING_IPS.c[name]
        for name in (
            "id", "project_id", "description", "floating_network_id", "floating_ip_address", "port_id",
            "fixed_ip_address", "router_id", "status", "dns_name", "dns_domain", "revision_number",
        )
    },
    "tenant_id": FLOATING_IPS.c.project_id,
    **tags.filters(FLOATING_IPS),
}  # fmt: skip


def visible_to(project_id: str | None) -> ColumnElement[bool]:
    return FLOATING_IPS.c.project_id == project_id


def _load(tx: Tx, rows: Iterable[Any]) -> list[FloatingIp]:
    rows = list(rows)
    words = tags.of(tx, [row.id for row in rows])
    return [FloatingIp(**row._mapping, tags=words.get(row.id, ())) for row in rows]


def page(tx: Tx, query: ListQuery, *scope: ColumnElement[bool]) -> list[FloatingIp]:
    """One page of floating IPs."""
    return _load(tx, select_page(tx, FLOATING_IPS, query, FILTERS, *scope))


def load_where(tx: Tx, *where: ColumnElement[bool]) -> list[FloatingIp]:
    """Floating IPs by conditions."""
    return _load(tx, tx.all(select(FLOATING_IPS).where(*where)))


def get(tx: Tx, floating_ip_id: str) -> FloatingIp | None:
    """One floating IP, or None."""
    found = load_where(tx, FLOATING_IPS.c.id == floating_ip_id)
    return found[0] if found else None


def remove(tx: Tx, floating_ip_id: str) -> None:
    tx.execute(delete(FLOATING_IPS).where(FLOATING_IPS.c.id == floating_ip_id))
    tags.forget(tx, (floating_ip_id,))


def count_of_project(tx: Tx, project_id: str) -> int:
    return tx.scalar(select(func.count()).select_from(FLOATING_IPS).where(FLOATING_IPS.c.project_id == project_id))
