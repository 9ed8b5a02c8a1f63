"""Tables and queries of the placement service."""

from pileus.services.placement.db import (
    aggregates,
    allocations,
    consumers,
    inventories,
    providers,
    resource_classes,
    traits,
)
from pileus.services.placement.db.metadata import METADATA

__all__ = [
    "METADATA", "aggregates", "allocations", "consumers", "inventories", "providers", "resource_classes", "traits",
]
