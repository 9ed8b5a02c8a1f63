"""Lists of providers: all filters in one statement."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, exists, func, literal, select

from pileus.kernel.db import Tx
from pileus.services.placement.db.aggregates import PROVIDER_AGGREGATES
from pileus.services.placement.db.allocations import ALLOCATIONS
from pileus.services.placement.db.inventories import INVENTORIES
from pileus.services.placement.db.providers import PROVIDERS, Provider, from_row
from pileus.services.placement.db.traits import PROVIDER_TRAITS
from pileus.services.placement.logic.query_language import AggregateWish, TraitWish


class ProviderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What listed providers have in common. in_tree: any provider of the tree."""

    name: str | None = None
    uuid: str | None = None
    in_tree: str | None = None
    member_of: AggregateWish = AggregateWish()
    required: TraitWish = TraitWish()
    resources: dict[str, int] = {}


def find(tx: Tx, wanted: ProviderFilter) -> list[Provider]:
    """Providers that match, in order of their making."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.name is not None:
        conditions.append(PROVIDERS.c.name == wanted.name)
    if wanted.uuid is not None:
        conditions.append(PROVIDERS.c.uuid == wanted.uuid)
    if wanted.in_tree is not None:
        root = select(PROVIDERS.c.root_uuid).where(PROVIDERS.c.uuid == wanted.in_tree).scalar_subquery()
        conditions.append(PROVIDERS.c.root_uuid == root)
    for table, column, wish in (
        (PROVIDER_AGGREGATES, PROVIDER_AGGREGATES.c.aggregate_uuid, wanted.member_of),
        (PROVIDER_TRAITS, PROVIDER_TRAITS.c.trait, wanted.required),
    ):
        conditions.extend(_one_of(table, column, choice) for choice in wish.required)
        if wish.forbidden:
            conditions.append(~_one_of(table, column, wish.forbidden))
    conditions.extend(_has_left(name, amount) for name, amount in wanted.resources.items())
    return [from_row(row) for row in tx.all(select(PROVIDERS).where(*conditions).order_by(PROVIDERS.c.id))]


def _one_of(table: Any, column: Any, values: frozenset[str]) -> ColumnElement[bool]:
    return exists(select(literal(1)).where(table.c.provider_id == PROVIDERS.c.id, column.in_(values)))


def _has_left(resource_class: str, amount: int) -> ColumnElement[bool]:
    own = INVENTORIES.c
    used = (
        select(func.coalesce(func.sum(ALLOCATIONS.c.used), 0))
        .where(ALLOCATIONS.c.provider_id == own.provider_id, ALLOCATIONS.c.resource_class == resource_class)
        .correlate(INVENTORIES)
        .scalar_subquery()
    )
    return exists(
        select(literal(1)).where(
            own.provider_id == PROVIDERS.c.id, own.resource_class == resource_class, own.min_unit <= amount,
            own.max_unit >= amount, literal(amount) % own.step_size == 0,
            used + amount <= (own.total - own.reserved) * own.allocation_ratio,
        )
    )
