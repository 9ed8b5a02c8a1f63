"""The hosts as the scheduler sees them: one read of everything that compute itself knows."""

from __future__ import annotations

from collections import defaultdict

import msgspec
from sqlalchemy import case, func, select

from pileus.kernel.db import Tx
from pileus.services.compute import states
from pileus.services.compute.db import aggregates, hypervisors, server_groups, servers, services
from pileus.services.compute.db.aggregates import Aggregate
from pileus.services.compute.db.hypervisors import Hypervisor
from pileus.services.compute.db.server_groups import ServerGroup
from pileus.services.compute.db.servers import SERVERS, Server
from pileus.services.compute.db.services import ServiceRow


class Load(msgspec.Struct, frozen=True):
    """What the servers of a host take together, and how many are being built."""

    vcpus: int = 0
    ram_mib: int = 0
    building: int = 0


class Hosts(msgspec.Struct, frozen=True):
    """Everything about hosts and the request's relatives, from one transaction."""

    hypervisors: list[Hypervisor]
    services: dict[str, ServiceRow]
    aggregates: dict[str, list[Aggregate]]
    loads: dict[str, Load]
    named_servers: dict[str, str]
    group: ServerGroup | None
    group_members: dict[str, int]


def read(tx: Tx, server: Server, named: list[str]) -> Hosts:
    """`named`: servers that the request's hints name."""
    memberships: dict[str, list[Aggregate]] = defaultdict(list)
    for item in aggregates.all_rows(tx):
        for host in item.hosts:
            memberships[host].append(item)
    group = server_groups.get(tx, server.server_group_id) if server.server_group_id else None
    return Hosts(
        hypervisors=hypervisors.all_rows(tx),
        services={row.host: row for row in services.all_rows(tx, binary=services.COMPUTE)},
        aggregates=memberships,
        loads=_loads(tx),
        named_servers=servers.hosts_of(tx, named) if named else {},
        group=group,
        group_members=members_by_host(tx, group.id, without=server.id) if group else {},
    )


def members_by_host(tx: Tx, group_id: str, *, without: str) -> dict[str, int]:
    """How many live members of a group each host has, one server not counted."""
    table = SERVERS.c
    rows = tx.all(
        select(table.host, func.count().label("n"))
        .where(
            table.server_group_id == group_id, table.host.is_not(None), table.deleted_at.is_(None), table.id != without
        )
        .group_by(table.host)
    )
    return {row.host: row.n for row in rows}


def _loads(tx: Tx) -> dict[str, Load]:
    table = SERVERS.c
    spawning = func.sum(case((table.task_state == states.SPAWNING, 1), else_=0))
    rows = tx.all(
        select(
            table.host, func.sum(table.vcpus).label("vcpus"), func.sum(table.ram_mib).label("ram"),
            spawning.label("building"),
        )
        .where(table.host.is_not(None), table.deleted_at.is_(None))
        .group_by(table.host)
    )
    return {row.host: Load(row.vcpus or 0, row.ram or 0, row.building or 0) for row in rows}
