"""All providers with everything that decides about candidates, read in five statements."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table, select

from pileus.kernel.db import Tx
from pileus.services.placement.db import allocations, inventories
from pileus.services.placement.db.aggregates import PROVIDER_AGGREGATES
from pileus.services.placement.db.providers import PROVIDERS
from pileus.services.placement.db.traits import PROVIDER_TRAITS
from pileus.services.placement.logic.candidates import Node, Snapshot, Stock


def load(tx: Tx) -> Snapshot:
    """The state of this moment."""
    used = allocations.usage_of(tx)
    stocks: dict[int, dict[str, Stock]] = {}
    for key, inventory in inventories.of_providers(tx).items():
        stocks.setdefault(key[0], {})[key[1]] = Stock(inventory, used.get(key, 0))
    traits = _sets(tx, PROVIDER_TRAITS, PROVIDER_TRAITS.c.trait)
    aggregates = _sets(tx, PROVIDER_AGGREGATES, PROVIDER_AGGREGATES.c.aggregate_uuid)
    own = PROVIDERS.c
    rows = tx.all(select(own.id, own.uuid, own.parent_uuid, own.root_uuid).order_by(own.id))
    return Snapshot([
        Node(
            row.uuid, row.parent_uuid, row.root_uuid, stocks.get(row.id, {}), frozenset(traits.get(row.id, ())),
            frozenset(aggregates.get(row.id, ())),
        )
        for row in rows
    ])


def _sets(tx: Tx, table: Table, value: Column[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    rows: list[Any] = tx.all(select(table.c.provider_id, value))
    for row in rows:
        found.setdefault(row[0], []).append(row[1])
    return found
