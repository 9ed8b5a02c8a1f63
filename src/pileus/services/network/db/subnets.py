"""Subnets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, Column, ForeignKey, Integer, String, Table, bindparam, delete, exists, func, or_, select
from sqlalchemy.sql import ColumnElement

from pileus.kernel.db import Json, Tx
from pileus.services.network.db import tags
from pileus.services.network.db.listing import Filter, ListQuery, select_page
from pileus.services.network.db.metadata import ID_CHARS, METADATA, NAME_CHARS, Standard, standard_columns
from pileus.services.network.db.networks import NETWORKS

ADDRESS_CHARS = 45
CIDR_CHARS = 49


class Subnet(Standard, frozen=True, kw_only=True):
    """A subnet. allocation_pools: dicts of start and end; host_routes: dicts of destination and nexthop."""

    network_id: str
    name: str
    ip_version: int
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    allocation_pools: list[dict[str, str]]
    dns_nameservers: list[str]
    host_routes: list[dict[str, str]]
    ipv6_ra_mode: str | None
    ipv6_address_mode: str | None
    service_types: list[str]
    subnetpool_id: str | None

    @property
    def prefix_length(self) -> int:
        return int(self.cidr.rpartition("/")[2])

    @property
    def is_slaac(self) -> bool:
        """Whether hosts make their own addresses from their MAC."""
        return self.ipv6_address_mode in ("slaac", "dhcpv6-stateless")


SUBNETS = Table(
    "subnets",
    METADATA,
    *standard_columns(),
    Column("network_id", String(ID_CHARS), ForeignKey("networks.id"), nullable=False, index=True),
    Column("name", String(NAME_CHARS), nullable=False),
    Column("ip_version", Integer, nullable=False),
    Column("cidr", String(CIDR_CHARS), nullable=False),
    Column("gateway_ip", String(ADDRESS_CHARS)),
    Column("enable_dhcp", Boolean, nullable=False),
    Column("allocation_pools", Json, nullable=False),
    Column("dns_nameservers", Json, nullable=False),
    Column("host_routes", Json, nullable=False),
    Column("ipv6_ra_mode", String(16)),
    Column("ipv6_address_mode", String(16)),
    Column("service_types", Json, nullable=False),
    Column("subnetpool_id", String(ID_CHARS), ForeignKey("subnet_pools.id"), index=True),
)


def _of_network(column: Column[Any]) -> Filter:
    def clause(values: list[str]) -> ColumnElement[bool]:
        wanted = [value.strip().lower() == "true" for value in values]
        return exists().where(NETWORKS.c.id == SUBNETS.c.network_id, column.in_(wanted))

    return clause


FILTERS: dict[str, Filter] = {
    **{
        name: SUBNETS.c[name]
        for name in (
            "id", "project_id", "name", "description", "network_id", "ip_version", "cidr", "gateway_ip", "enable_dhcp",
            "ipv6_ra_mode", "ipv6_address_mode", "revision_number", "subnetpool_id",
        )
    },
    "tenant_id": SUBNETS.c.project_id,
    "shared": _of_network(NETWORKS.c.shared),
    "router:external": _of_network(NETWORKS.c.external),
    **tags.filters(SUBNETS),
}  # fmt: skip


def visible_to(project_id: str | None) -> ColumnElement[bool]:
    """Subnets that a project may see: its own, and those of networks it owns or may use. Not those of external
    networks that are not shared: their address plan is the operator's."""
    through = exists().where(
        NETWORKS.c.id == SUBNETS.c.network_id, or_(NETWORKS.c.project_id == project_id, NETWORKS.c.shared)
    )
    return or_(SUBNETS.c.project_id == project_id, through)


def _load(tx: Tx, rows: Iterable[Any]) -> list[Subnet]:
    rows = list(rows)
    words = tags.of(tx, [row.id for row in rows])
    return [Subnet(**row._mapping, tags=words.get(row.id, ())) for row in rows]


def page(tx: Tx, query: ListQuery, *scope: ColumnElement[bool]) -> list[Subnet]:
    """One page of subnets."""
    return _load(tx, select_page(tx, SUBNETS, query, FILTERS, *scope))


def get(tx: Tx, subnet_id: str) -> Subnet | None:
    """One subnet, or None."""
    found = _load(tx, tx.all(select(SUBNETS).where(SUBNETS.c.id == subnet_id)))
    return found[0] if found else None


def by_ids(tx: Tx, ids: Iterable[str]) -> dict[str, Subnet]:
    """Several subnets by id, without their tags."""
    rows = tx.all(select(SUBNETS).where(SUBNETS.c.id.in_(sorted(set(ids)))))
    return {row.id: Subnet(**row._mapping) for row in rows}


def of_networks(tx: Tx, network_ids: Iterable[str]) -> list[Subnet]:
    """The subnets of networks, oldest first, without their tags."""
    return [Subnet(**row._mapping) for row in tx.all(_OF_NETWORKS, {"network_ids": sorted(set(network_ids))})]


_OF_NETWORKS = (
    select(SUBNETS).where(SUBNETS.c.network_id.in_(bindparam("network_ids", expanding=True)))
    .order_by(SUBNETS.c.created_at, SUBNETS.c.id)
)  # fmt: skip


def count_of_project(tx: Tx, project_id: str) -> int:
    return tx.scalar(select(func.count()).select_from(SUBNETS).where(SUBNETS.c.project_id == project_id))


def remove(tx: Tx, ids: Iterable[str]) -> None:
    """Delete rows."""
    wanted = list(ids)
    tx.execute(delete(SUBNETS).where(SUBNETS.c.id.in_(wanted)))
    tags.forget(tx, wanted)
