"""What placement's database says: who has how much of what, and how much there is."""

from __future__ import annotations

import msgspec
from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.placement.db import inventories
from pileus.services.placement.db.allocations import ALLOCATIONS
from pileus.services.placement.db.consumers import CONSUMERS
from pileus.services.placement.db.providers import PROVIDERS


class ProviderRecord(msgspec.Struct, frozen=True):
    """A resource provider. capacity: what may be given out, by resource class."""

    uuid: str
    name: str
    root_uuid: str
    capacity: dict[str, int]


class ConsumerRecord(msgspec.Struct, frozen=True):
    """A consumer with what it has: amounts by provider uuid and resource class."""

    uuid: str
    project_id: str
    user_id: str
    consumer_type: str | None
    allocations: dict[str, dict[str, int]]


class PlacementRecords(msgspec.Struct, frozen=True):
    """Both by uuid."""

    providers: dict[str, ProviderRecord]
    consumers: dict[str, ConsumerRecord]


def read(tx: Tx) -> PlacementRecords:
    """All of it, in four statements."""
    p = PROVIDERS.c
    capacity: dict[int, dict[str, int]] = {}
    for (provider_id, name), inventory in inventories.of_providers(tx).items():
        capacity.setdefault(provider_id, {})[name] = inventory.capacity
    rows = tx.all(select(p.id, p.uuid, p.name, p.root_uuid))
    uuid_of = {row.id: row.uuid for row in rows}
    providers = {
        row.uuid: ProviderRecord(row.uuid, row.name, row.root_uuid, capacity.get(row.id, {})) for row in rows
    }
    consumers = {
        row.uuid: ConsumerRecord(row.uuid, row.project_id, row.user_id, row.consumer_type, {})
        for row in tx.all(select(CONSUMERS))
    }
    for row in tx.all(select(ALLOCATIONS)):
        consumer = consumers.setdefault(row.consumer_uuid, ConsumerRecord(row.consumer_uuid, "", "", None, {}))
        provider = uuid_of.get(row.provider_id, f"number {row.provider_id}")
        consumer.allocations.setdefault(provider, {})[row.resource_class] = row.used
    return PlacementRecords(providers, consumers)
