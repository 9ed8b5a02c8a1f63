"""The network service's tables."""

from pileus.services.network.db import (  # noqa: F401
    agents,
    floating_ips,
    networks,
    ports,
    routers,
    security_groups,
    subnet_pools,
    subnets,
    tags,
)
from pileus.services.network.db.metadata import METADATA, QUOTAS

__all__ = ["METADATA", "QUOTAS"]
