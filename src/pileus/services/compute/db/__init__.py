"""The compute service's tables."""

from pileus.services.compute.db import (  # noqa: F401
    aggregates,
    faults,
    flavors,
    hypervisors,
    keypairs,
    server_groups,
    servers,
    services,
    tags,
)
from pileus.services.compute.db.metadata import FLOWS, METADATA, QUOTAS

__all__ = ["FLOWS", "METADATA", "QUOTAS"]
