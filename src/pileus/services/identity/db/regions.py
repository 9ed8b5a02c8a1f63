"""Regions of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Column, String, Table, Text, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.kernel.db import Json, Tx
from pileus.services.identity.db.filters import Filter, Window, as_struct, narrowed, page
from pileus.services.identity.db.metadata import METADATA

REGIONS = Table(
    "regions",
    METADATA,
    Column("id", String(255), primary_key=True),
    Column("parent_region_id", String(255)),
    Column("description", Text, nullable=False),
    Column("extra", Json, nullable=False),
)


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """A region; its id is chosen by whoever makes it."""

    id: str
    parent_region_id: str | None
    description: str
    extra: dict[str, Any]


def get(tx: Tx, region_id: str) -> Region | None:
    """A region by id."""
    row = tx.first(select(REGIONS).where(REGIONS.c.id == region_id))
    return None if row is None else as_struct(Region, row)


def insert(tx: Tx, region: Region) -> None:
    """Store a new region; the id must have been found free in this transaction."""
    tx.execute(REGIONS.insert().values(**{name: getattr(region, name) for name in Region.__struct_fields__}))


def update(tx: Tx, region_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns."""
    if changes:
        tx.execute(sql_update(REGIONS).where(REGIONS.c.id == region_id).values(**changes))


def delete(tx: Tx, region_id: str) -> None:
    """Delete one; it must have neither children nor endpoints."""
    tx.execute(sql_delete(REGIONS).where(REGIONS.c.id == region_id))


def has_children(tx: Tx, region_id: str) -> bool:
    """Whether a region names this one as its parent."""
    return tx.first(select(REGIONS.c.id).where(REGIONS.c.parent_region_id == region_id)) is not None


def listing(tx: Tx, filters: tuple[Filter, ...], window: Window) -> list[Region]:
    """One page of regions."""
    return [as_struct(Region, row) for row in page(tx, narrowed(select(REGIONS), REGIONS, filters), REGIONS, window)]
