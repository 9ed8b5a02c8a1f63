"""Custom resource classes. The standard ones are no rows: every cloud has them."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Column, String, Table, delete, select, update

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.placement.db.allocations import ALLOCATIONS
from pileus.services.placement.db.inventories import INVENTORIES
from pileus.services.placement.db.metadata import METADATA
from pileus.services.placement.logic.standard_names import RESOURCE_CLASSES, STANDARD_CLASSES

CUSTOM_CLASSES = Table(
    "custom_resource_classes",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)


def names(tx: Tx) -> list[str]:
    """All resource classes: the standard ones first."""
    custom = tx.all(select(CUSTOM_CLASSES.c.name).order_by(CUSTOM_CLASSES.c.created_at, CUSTOM_CLASSES.c.name))
    return [*RESOURCE_CLASSES, *(row.name for row in custom)]


def exists(tx: Tx, name: str) -> bool:
    """Whether there is a class of that name."""
    return not unknown(tx, [name])


def unknown(tx: Tx, wanted: Collection[str]) -> list[str]:
    """Those names that are no resource class, in alphabetical order."""
    custom = {name for name in wanted if name not in STANDARD_CLASSES}
    if not custom:
        return []
    found = tx.all(select(CUSTOM_CLASSES.c.name).where(CUSTOM_CLASSES.c.name.in_(custom)))
    return sorted(custom - {row.name for row in found})


def insert(tx: Tx, name: str) -> None:
    """Add one; the caller has seen that it is not there."""
    tx.execute(CUSTOM_CLASSES.insert().values(name=name, created_at=tx.now()))


def remove(tx: Tx, name: str) -> None:
    """Delete one."""
    tx.execute(delete(CUSTOM_CLASSES).where(CUSTOM_CLASSES.c.name == name))


def rename(tx: Tx, old: str, new: str) -> None:
    """Give a class another name, everywhere."""
    tx.execute(update(CUSTOM_CLASSES).where(CUSTOM_CLASSES.c.name == old).values(name=new))
    for table in (INVENTORIES, ALLOCATIONS):
        tx.execute(update(table).where(table.c.resource_class == old).values(resource_class=new))
