"""Consumers: who has allocations, for whom, and of which type. A consumer without allocations is no row."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Column, Index, Integer, String, Table, delete, select

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.placement.db.metadata import METADATA

UNKNOWN_TYPE = "unknown"

CONSUMERS = Table(
    "consumers",
    METADATA,
    Column("uuid", String(36), primary_key=True),
    Column("project_id", String(255), nullable=False),
    Column("user_id", String(255), nullable=False),
    Column("consumer_type", String(255)),
    Column("generation", Integer, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_consumers_project", "project_id", "user_id"),
)


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table. consumer_type: None when the client was too old to say it."""

    uuid: str
    project_id: str
    user_id: str
    consumer_type: str | None
    generation: int


def _from_row(row: Any) -> Consumer:
    return Consumer(
        uuid=row.uuid, project_id=row.project_id, user_id=row.user_id, consumer_type=row.consumer_type,
        generation=row.generation,
    )


def get(tx: Tx, uuid: str) -> Consumer | None:
    """A consumer by uuid."""
    row = tx.first(select(CONSUMERS).where(CONSUMERS.c.uuid == uuid))
    return None if row is None else _from_row(row)


def locked(tx: Tx, uuids: Collection[str]) -> dict[str, Consumer]:
    """These consumers, those that exist, held until the transaction ends."""
    statement = select(CONSUMERS).where(CONSUMERS.c.uuid.in_(uuids)).order_by(CONSUMERS.c.uuid).with_for_update()
    return {row.uuid: _from_row(row) for row in tx.all(statement)}


def replace(tx: Tx, gone: Collection[str], kept: Collection[Consumer]) -> None:
    """Delete some, write the others as they are."""
    uuids = {*gone, *(consumer.uuid for consumer in kept)}
    tx.execute(delete(CONSUMERS).where(CONSUMERS.c.uuid.in_(uuids)))
    if kept:
        now = tx.now()
        tx.execute(CONSUMERS.insert(), [msgspec.structs.asdict(consumer) | {"updated_at": now} for consumer in kept])
