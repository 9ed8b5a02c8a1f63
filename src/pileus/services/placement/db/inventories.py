"""Inventories: how much a provider has of each resource class."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Column, Double, ForeignKey, Integer, String, Table, delete, select

from pileus.kernel.db import Tx
from pileus.services.placement.db.metadata import METADATA
from pileus.services.placement.logic.amounts import Inventory

INVENTORIES = Table(
    "inventories",
    METADATA,
    Column("provider_id", Integer, ForeignKey("resource_providers.id"), primary_key=True),
    Column("resource_class", String(255), primary_key=True, index=True),
    Column("total", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    Column("min_unit", Integer, nullable=False),
    Column("max_unit", Integer, nullable=False),
    Column("step_size", Integer, nullable=False),
    Column("allocation_ratio", Double, nullable=False),
)


def _from_row(row: Any) -> Inventory:
    # By position: requests for candidates read every inventory there is, and names cost twice as much.
    _, _, total, reserved, min_unit, max_unit, step_size, ratio = row
    return Inventory(
        total=total, reserved=reserved, min_unit=min_unit, max_unit=max_unit, step_size=step_size,
        allocation_ratio=ratio,
    )


def of_provider(tx: Tx, provider_id: int) -> dict[str, Inventory]:
    """A provider's inventory by resource class."""
    rows = tx.all(
        select(INVENTORIES).where(INVENTORIES.c.provider_id == provider_id).order_by(INVENTORIES.c.resource_class)
    )
    return {row.resource_class: _from_row(row) for row in rows}


def of_providers(tx: Tx, provider_ids: Collection[int] | None = None) -> dict[tuple[int, str], Inventory]:
    """Inventories by provider and resource class; of all providers when none is named."""
    statement = select(INVENTORIES)
    if provider_ids is not None:
        statement = statement.where(INVENTORIES.c.provider_id.in_(provider_ids))
    rows: list[Any] = tx.all(statement)
    return {(row[0], row[1]): _from_row(row) for row in rows}


def replace(tx: Tx, provider_id: int, inventories: Mapping[str, Inventory]) -> None:
    """Make a provider's inventory exactly this."""
    tx.execute(delete(INVENTORIES).where(INVENTORIES.c.provider_id == provider_id))
    if inventories:
        rows = [
            {
                "provider_id": provider_id, "resource_class": name, "total": item.total, "reserved": item.reserved,
                "min_unit": item.min_unit, "max_unit": item.max_unit, "step_size": item.step_size,
                "allocation_ratio": item.allocation_ratio,
            }
            for name, item in inventories.items()
        ]
        tx.execute(INVENTORIES.insert(), rows)


def class_used(tx: Tx, resource_class: str) -> bool:
    """Whether any provider has an inventory of the class."""
    statement = select(INVENTORIES.c.provider_id).where(INVENTORIES.c.resource_class == resource_class).limit(1)
    return tx.first(statement) is not None
