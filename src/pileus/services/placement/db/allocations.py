"""Allocations: who has how much of what from which provider."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, delete, func, select

from pileus.kernel.db import Tx
from pileus.services.placement.db.consumers import CONSUMERS, UNKNOWN_TYPE
from pileus.services.placement.db.metadata import METADATA
from pileus.services.placement.db.providers import PROVIDERS

ALLOCATIONS = Table(
    "allocations",
    METADATA,
    Column("consumer_uuid", String(36), primary_key=True),
    Column("provider_id", Integer, ForeignKey("resource_providers.id"), primary_key=True),
    Column("resource_class", String(255), primary_key=True),
    Column("used", Integer, nullable=False),
    # Covers the sums of usage, which every claim and every request for candidates needs.
    Index("ix_allocations_usage", "provider_id", "resource_class", "used"),
)

Amounts = dict[str, int]
ByProvider = dict[str, Amounts]


class Line(msgspec.Struct, frozen=True):
    """A row of the table."""

    consumer_uuid: str
    provider_id: int
    resource_class: str
    used: int


class ProviderShare(msgspec.Struct, frozen=True):
    """What a consumer has from one provider, with the provider's generation."""

    provider_uuid: str
    generation: int
    resources: Amounts


def lines_of(tx: Tx, consumer_uuids: Collection[str]) -> list[Line]:
    """All that these consumers have."""
    return [Line(*row) for row in tx.all(select(ALLOCATIONS).where(ALLOCATIONS.c.consumer_uuid.in_(consumer_uuids)))]


def replace(tx: Tx, consumer_uuids: Collection[str], lines: Sequence[Line]) -> None:
    """Make what these consumers have exactly this."""
    tx.execute(delete(ALLOCATIONS).where(ALLOCATIONS.c.consumer_uuid.in_(consumer_uuids)))
    if lines:
        tx.execute(ALLOCATIONS.insert(), [msgspec.structs.asdict(line) for line in lines])


def usage_of(tx: Tx, provider_ids: Collection[int] | None = None) -> dict[tuple[int, str], int]:
    """What is given out, by provider and resource class; of all providers when none is named."""
    columns = (ALLOCATIONS.c.provider_id, ALLOCATIONS.c.resource_class)
    statement = select(*columns, func.sum(ALLOCATIONS.c.used)).group_by(*columns)
    if provider_ids is not None:
        statement = statement.where(ALLOCATIONS.c.provider_id.in_(provider_ids))
    rows: list[Any] = tx.all(statement)
    return {(row[0], row[1]): int(row[2]) for row in rows}


def of_consumer(tx: Tx, consumer_uuid: str) -> list[ProviderShare]:
    """What a consumer has, by provider."""
    rows = tx.all(
        select(PROVIDERS.c.uuid, PROVIDERS.c.generation, ALLOCATIONS.c.resource_class, ALLOCATIONS.c.used)
        .join(PROVIDERS, PROVIDERS.c.id == ALLOCATIONS.c.provider_id)
        .where(ALLOCATIONS.c.consumer_uuid == consumer_uuid)
        .order_by(PROVIDERS.c.id)
    )
    shares: dict[str, ProviderShare] = {}
    for row in rows:
        share = shares.setdefault(row.uuid, ProviderShare(row.uuid, row.generation, {}))
        share.resources[row.resource_class] = row.used
    return list(shares.values())


def on_provider(tx: Tx, provider_id: int) -> list[tuple[str, int, Amounts]]:
    """Consumer, its generation and what it has from a provider, of every consumer."""
    rows = tx.all(
        select(ALLOCATIONS.c.consumer_uuid, CONSUMERS.c.generation, ALLOCATIONS.c.resource_class, ALLOCATIONS.c.used)
        .join(CONSUMERS, CONSUMERS.c.uuid == ALLOCATIONS.c.consumer_uuid)
        .where(ALLOCATIONS.c.provider_id == provider_id)
    )
    found: dict[str, tuple[str, int, Amounts]] = {}
    for row in rows:
        item = found.setdefault(row.consumer_uuid, (row.consumer_uuid, row.generation, {}))
        item[2][row.resource_class] = row.used
    return list(found.values())


def has_any(tx: Tx, provider_id: int) -> bool:
    """Whether anything is given out by a provider."""
    return tx.first(select(ALLOCATIONS.c.used).where(ALLOCATIONS.c.provider_id == provider_id).limit(1)) is not None


class TypeUsage(msgspec.Struct, frozen=True):
    """What consumers of one type have together."""

    consumer_type: str
    consumers: int
    resources: Amounts


def usage_by_type(
    tx: Tx, project_id: str, *, user_id: str | None = None, consumer_type: str | None = None
) -> list[TypeUsage]:
    """What a project (or one user in it) has, per consumer type. `unknown` stands for consumers without a type."""
    mine: list[Any] = [CONSUMERS.c.project_id == project_id]
    if user_id is not None:
        mine.append(CONSUMERS.c.user_id == user_id)
    if consumer_type == UNKNOWN_TYPE:
        mine.append(CONSUMERS.c.consumer_type.is_(None))
    elif consumer_type is not None:
        mine.append(CONSUMERS.c.consumer_type == consumer_type)
    kind = CONSUMERS.c.consumer_type
    counted = select(kind, func.count().label("consumers")).where(*mine).group_by(kind)
    summed = (
        select(kind, ALLOCATIONS.c.resource_class, func.sum(ALLOCATIONS.c.used).label("total"))
        .join(ALLOCATIONS, ALLOCATIONS.c.consumer_uuid == CONSUMERS.c.uuid)
        .where(*mine)
        .group_by(kind, ALLOCATIONS.c.resource_class)
    )
    resources: dict[str | None, Amounts] = {}
    for row in tx.all(summed):
        resources.setdefault(row.consumer_type, {})[row.resource_class] = int(row.total)
    return [
        TypeUsage(row.consumer_type or UNKNOWN_TYPE, row.consumers, resources.get(row.consumer_type, {}))
        for row in tx.all(counted)
    ]
