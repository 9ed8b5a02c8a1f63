"""Subnet pools: address space that subnets are cut from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, Column, Integer, String, Table, delete, func, or_, select
from sqlalchemy.sql import ColumnElement

from pileus.kernel.db import Json, Tx
from pileus.services.network.db import tags
from pileus.services.network.db.listing import Filter, ListQuery, select_page
from pileus.services.network.db.metadata import METADATA, NAME_CHARS, Standard, standard_columns


class SubnetPool(Standard, frozen=True, kw_only=True):
    """A pool. Prefix lengths in bits; default_quota: addresses (IPv4) a project may have of it, None: any number."""

    name: str
    ip_version: int
    prefixes: list[str]
    default_prefixlen: int
    min_prefixlen: int
    max_prefixlen: int
    default_quota: int | None
    shared: bool
    is_default: bool


SUBNET_POOLS = Table(
    "subnet_pools",
    METADATA,
    *standard_columns(),
    Column("name", String(NAME_CHARS), nullable=False),
    Column("ip_version", Integer, nullable=False),
    Column("prefixes", Json, nullable=False),
    Column("default_prefixlen", Integer, nullable=False),
    Column("min_prefixlen", Integer, nullable=False),
    Column("max_prefixlen", Integer, nullable=False),
    Column("default_quota", Integer),
    Column("shared", Boolean, nullable=False),
    Column("is_default", Boolean, nullable=False),
)

FILTERS: dict[str, Filter] = {
    **{
        name: SUBNET_POOLS.c[name]
        for name in (
            "id", "project_id", "name", "description", "ip_version", "default_prefixlen", "min_prefixlen",
            "max_prefixlen", "default_quota", "shared", "is_default", "revision_number",
        )
    },
    "tenant_id": SUBNET_POOLS.c.project_id,
    "address_scope_id": lambda values: SUBNET_POOLS.c.id.is_(None),
    **tags.filters(SUBNET_POOLS),
}  # fmt: skip


def visible_to(project_id: str | None) -> ColumnElement[bool]:
    return or_(SUBNET_POOLS.c.project_id == project_id, SUBNET_POOLS.c.shared)


def _load(tx: Tx, rows: Iterable[Any]) -> list[SubnetPool]:
    rows = list(rows)
    words = tags.of(tx, [row.id for row in rows])
    return [SubnetPool(**row._mapping, tags=words.get(row.id, ())) for row in rows]


def page(tx: Tx, query: ListQuery, *scope: ColumnElement[bool]) -> list[SubnetPool]:
    """One page of pools."""
    return _load(tx, select_page(tx, SUBNET_POOLS, query, FILTERS, *scope))


def get(tx: Tx, pool_id: str) -> SubnetPool | None:
    """One pool, or None."""
    found = _load(tx, tx.all(select(SUBNET_POOLS).where(SUBNET_POOLS.c.id == pool_id)))
    return found[0] if found else None


def remove(tx: Tx, pool_id: str) -> None:
    tx.execute(delete(SUBNET_POOLS).where(SUBNET_POOLS.c.id == pool_id))
    tags.forget(tx, (pool_id,))


def count_of_project(tx: Tx, project_id: str) -> int:
    return tx.scalar(select(func.count()).select_from(SUBNET_POOLS).where(SUBNET_POOLS.c.project_id == project_id))
