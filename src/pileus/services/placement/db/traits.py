"""Traits: what providers are capable of. The standard ones are no rows: every cloud has them."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Column, ForeignKey, Integer, String, Table, delete, select

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.placement.db.metadata import METADATA
from pileus.services.placement.logic.standard_names import standard_traits

CUSTOM_TRAITS = Table(
    "custom_traits",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)
PROVIDER_TRAITS = Table(
    "provider_traits",
    METADATA,
    Column("provider_id", Integer, ForeignKey("resource_providers.id"), primary_key=True),
    Column("trait", String(255), primary_key=True, index=True),
)


def names(tx: Tx) -> list[str]:
    """All traits, in alphabetical order."""
    return sorted([*standard_traits(), *(row.name for row in tx.all(select(CUSTOM_TRAITS.c.name)))])


def unknown(tx: Tx, wanted: Collection[str]) -> list[str]:
    """Those names that are no trait, in alphabetical order."""
    custom = set(wanted) - standard_traits()
    if not custom:
        return []
    found = tx.all(select(CUSTOM_TRAITS.c.name).where(CUSTOM_TRAITS.c.name.in_(custom)))
    return sorted(custom - {row.name for row in found})


def associated(tx: Tx) -> set[str]:
    """Traits that some provider has."""
    return {row.trait for row in tx.all(select(PROVIDER_TRAITS.c.trait).distinct())}


def is_associated(tx: Tx, name: str) -> bool:
    """Whether some provider has the trait."""
    return tx.first(select(PROVIDER_TRAITS.c.trait).where(PROVIDER_TRAITS.c.trait == name).limit(1)) is not None


def insert(tx: Tx, name: str) -> None:
    """Add one; the caller has seen that it is not there."""
    tx.execute(CUSTOM_TRAITS.insert().values(name=name, created_at=tx.now()))


def remove(tx: Tx, name: str) -> None:
    """Delete one."""
    tx.execute(delete(CUSTOM_TRAITS).where(CUSTOM_TRAITS.c.name == name))


def of_provider(tx: Tx, provider_id: int) -> list[str]:
    """A provider's traits, in alphabetical order."""
    rows = tx.all(select(PROVIDER_TRAITS.c.trait).where(PROVIDER_TRAITS.c.provider_id == provider_id))
    return sorted(row.trait for row in rows)


def replace(tx: Tx, provider_id: int, wanted: Collection[str]) -> None:
    """Make a provider's traits exactly these."""
    tx.execute(delete(PROVIDER_TRAITS).where(PROVIDER_TRAITS.c.provider_id == provider_id))
    if wanted:
        tx.execute(PROVIDER_TRAITS.insert(), [{"provider_id": provider_id, "trait": name} for name in set(wanted)])
