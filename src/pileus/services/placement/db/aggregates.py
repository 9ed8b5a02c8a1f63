"""Aggregates that providers are members of. An aggregate is nothing but its uuid."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Column, ForeignKey, Integer, String, Table, delete, select

from pileus.kernel.db import Tx
from pileus.services.placement.db.metadata import METADATA

PROVIDER_AGGREGATES = Table(
    "provider_aggregates",
    METADATA,
    Column("provider_id", Integer, ForeignKey("resource_providers.id"), primary_key=True),
    Column("aggregate_uuid", String(36), primary_key=True, index=True),
)


def of_provider(tx: Tx, provider_id: int) -> list[str]:
    """A provider's aggregates, in order of their uuids."""
    rows = tx.all(select(PROVIDER_AGGREGATES.c.aggregate_uuid).where(PROVIDER_AGGREGATES.c.provider_id == provider_id))
    return sorted(row.aggregate_uuid for row in rows)


def replace(tx: Tx, provider_id: int, wanted: Collection[str]) -> None:
    """Make a provider a member of exactly these."""
    tx.execute(delete(PROVIDER_AGGREGATES).where(PROVIDER_AGGREGATES.c.provider_id == provider_id))
    if wanted:
        rows = [{"provider_id": provider_id, "aggregate_uuid": uuid} for uuid in set(wanted)]
        tx.execute(PROVIDER_AGGREGATES.insert(), rows)
