"""Resource providers: trees of things that have resources, each with a generation that every change raises."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Integer, String, Table, delete, select, update

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.placement.db.metadata import METADATA
from pileus.services.placement.errors import GenerationConflict, ProviderNotFound

PROVIDERS = Table(
    "resource_providers",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("generation", Integer, nullable=False),
    Column("parent_uuid", String(36), index=True),
    Column("root_uuid", String(36), nullable=False, index=True),
    Column("updated_at", UtcDateTime, nullable=False),
)


class Provider(msgspec.Struct, frozen=True):
    """A row of the table. A root is its own `root_uuid` and has no parent."""

    id: int
    uuid: str
    name: str
    generation: int
    parent_uuid: str | None
    root_uuid: str
    updated_at: datetime


def from_row(row: Any) -> Provider:
    return Provider(*row)


def get(tx: Tx, uuid: str) -> Provider | None:
    """A provider by uuid."""
    row = tx.first(select(PROVIDERS).where(PROVIDERS.c.uuid == uuid))
    return None if row is None else from_row(row)


def need(tx: Tx, uuid: str) -> Provider:
    """A provider by uuid, or `ProviderNotFound`."""
    found = get(tx, uuid)
    if found is None:
        raise ProviderNotFound(uuid=uuid)
    return found


def by_name(tx: Tx, name: str) -> Provider | None:
    """A provider by name."""
    row = tx.first(select(PROVIDERS).where(PROVIDERS.c.name == name))
    return None if row is None else from_row(row)


def locked(tx: Tx, *, uuids: Collection[str] = (), ids: Collection[int] = ()) -> dict[str, Provider]:
    """These providers, those that exist, held until the transaction ends: always in the same order, so that two never
    wait for each other. On SQLite the writer holds the whole database anyway."""
    statement = (
        select(PROVIDERS)
        .where(PROVIDERS.c.uuid.in_(uuids) | PROVIDERS.c.id.in_(ids))
        .order_by(PROVIDERS.c.id)
        .with_for_update()
    )
    return {row.uuid: from_row(row) for row in tx.all(statement)}


def expect(tx: Tx, uuid: str, generation: int | None) -> Provider:
    """The provider, held, at this generation. `ProviderNotFound`, or `GenerationConflict`. None: any generation."""
    found = locked(tx, uuids=[uuid]).get(uuid)
    if found is None:
        raise ProviderNotFound(uuid=uuid)
    if generation is not None and found.generation != generation:
        raise GenerationConflict(uuid=uuid, actual=found.generation, given=generation)
    return found


def raise_generation(tx: Tx, ids: Collection[int]) -> None:
    """Something about these providers changed. They must be held."""
    if ids:
        tx.execute(
            update(PROVIDERS)
            .where(PROVIDERS.c.id.in_(ids))
            .values(generation=PROVIDERS.c.generation + 1, updated_at=tx.now())
        )


def insert(tx: Tx, uuid: str, name: str, parent: Provider | None) -> Provider:
    """Add one; the caller has seen that uuid and name are free."""
    values: dict[str, Any] = {
        "uuid": uuid, "name": name, "generation": 0, "parent_uuid": parent.uuid if parent else None,
        "root_uuid": parent.root_uuid if parent else uuid, "updated_at": tx.now(),
    }
    (key,) = tx.execute(PROVIDERS.insert().values(**values)).inserted_primary_key or (0,)
    return Provider(id=key, **values)


def change(tx: Tx, provider_id: int, **values: Any) -> None:
    """Set columns."""
    tx.execute(update(PROVIDERS).where(PROVIDERS.c.id == provider_id).values(updated_at=tx.now(), **values))


def set_root(tx: Tx, uuids: Collection[str], root_uuid: str) -> None:
    """Move whole subtrees under another root."""
    tx.execute(update(PROVIDERS).where(PROVIDERS.c.uuid.in_(uuids)).values(root_uuid=root_uuid))


def tree_of(tx: Tx, root_uuid: str) -> list[Provider]:
    """All providers of a tree."""
    return [from_row(row) for row in tx.all(select(PROVIDERS).where(PROVIDERS.c.root_uuid == root_uuid))]


def has_children(tx: Tx, uuid: str) -> bool:
    """Whether another provider names this one as its parent."""
    return tx.first(select(PROVIDERS.c.id).where(PROVIDERS.c.parent_uuid == uuid).limit(1)) is not None


def remove(tx: Tx, provider_id: int) -> None:
    """Delete one."""
    tx.execute(delete(PROVIDERS).where(PROVIDERS.c.id == provider_id))
