"""Creating, changing and deleting subnet pools, and what a new subnet gets of one."""

from __future__ import annotations

import ipaddress
from typing import Any

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network.db import subnet_pools
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.metadata import revise, stamped
from pileus.services.network.db.subnet_pools import SUBNET_POOLS, SubnetPool
from pileus.services.network.db.subnets import SUBNETS
from pileus.services.network.errors import (
    IllegalSubnetPoolPrefixUpdate,
    SubnetAllocationError,
    SubnetPoolDeleteError,
    SubnetPoolQuotaExceeded,
)
from pileus.services.network.logic.subnet_pools import covers, first_free
from pileus.services.network.quotas import claim


def create_pool(tx: Tx, fabric: Fabric, project_id: str, values: dict[str, Any]) -> SubnetPool:
    """Make a pool."""
    claim(tx, fabric.limits, project_id, "subnetpool")
    row = stamped(tx, {**values, "project_id": project_id})
    tx.execute(SUBNET_POOLS.insert(), row)
    return _found(tx, row["id"])


def _found(tx: Tx, pool_id: str) -> SubnetPool:
    pool = subnet_pools.get(tx, pool_id)
    assert pool is not None, "a pool of this transaction"
    return pool


def update_pool(tx: Tx, pool: SubnetPool, values: dict[str, Any]) -> SubnetPool:
    """Change a pool; it may grow but not shrink."""
    if "prefixes" in values and not all(covers(values["prefixes"], prefix) for prefix in pool.prefixes):
        raise IllegalSubnetPoolPrefixUpdate()
    revise(tx, SUBNET_POOLS, (pool.id,), values)
    return _found(tx, pool.id)


def delete_pool(tx: Tx, pool: SubnetPool) -> None:
    """Remove a pool that no subnet was cut from."""
    if tx.scalar(select(SUBNETS.c.id).where(SUBNETS.c.subnetpool_id == pool.id).limit(1)) is not None:
        raise SubnetPoolDeleteError(reason="Subnet pool has existing allocations")
    subnet_pools.remove(tx, pool.id)


def cut(tx: Tx, pool: SubnetPool, project_id: str, cidr: str | None, prefixlen: int | None) -> str:
    """The CIDR of a new subnet from a pool: the one asked for, or the first free one of a length."""
    rows = tx.all(select(SUBNETS.c.cidr, SUBNETS.c.project_id).where(SUBNETS.c.subnetpool_id == pool.id))
    wanted = ipaddress.ip_network(cidr) if cidr is not None else None
    length = wanted.prefixlen if wanted is not None else prefixlen or pool.default_prefixlen
    if not pool.min_prefixlen <= length <= pool.max_prefixlen:
        reason = f"the prefix length {length} is not between {pool.min_prefixlen} and {pool.max_prefixlen}"
        raise SubnetAllocationError(reason=reason)
    _check_quota(pool, [row.cidr for row in rows if row.project_id == project_id], length)
    if wanted is None:
        return first_free(pool.prefixes, length, [row.cidr for row in rows])
    if not covers(pool.prefixes, str(wanted)) or any(wanted.overlaps(ipaddress.ip_network(row.cidr)) for row in rows):
        raise SubnetAllocationError(reason="Cannot allocate requested subnet from the available set of prefixes")
    return str(wanted)


def _check_quota(pool: SubnetPool, own: list[str], length: int) -> None:
    """IPv4 counts addresses, IPv6 counts networks of 64 bits."""
    if pool.default_quota is None:
        return
    bits = 32 if pool.ip_version == 4 else 64
    used = sum(1 << max(bits - ipaddress.ip_network(cidr).prefixlen, 0) for cidr in own)
    if used + (1 << max(bits - length, 0)) > pool.default_quota:
        raise SubnetPoolQuotaExceeded()
