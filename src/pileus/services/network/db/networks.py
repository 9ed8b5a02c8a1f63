"""Networks and the segments that carry them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Boolean, Column, ForeignKey, Integer, String, Table, bindparam, delete, func, or_, select
from sqlalchemy.sql import ColumnElement

from pileus.kernel.db import Json, Tx
from pileus.services.network.db import tags
from pileus.services.network.db.listing import Filter, ListQuery, select_page
from pileus.services.network.db.metadata import (
    ID_CHARS,
    METADATA,
    NAME_CHARS,
    Standard,
    insert_unless_taken,
    standard_columns,
)

PHYSICAL_NETWORK_CHARS = 64


class Network(Standard, frozen=True, kw_only=True):
    """A network; `subnets` are ids. mtu: bytes of a frame's payload."""

    name: str
    admin_state_up: bool
    shared: bool
    external: bool
    is_default: bool
    mtu: int
    port_security_enabled: bool
    dns_domain: str
    network_type: str
    physical_network: str | None
    segmentation_id: int | None
    availability_zone_hints: list[str]
    subnets: tuple[str, ...] = ()


NETWORKS = Table(
    "networks",
    METADATA,
    *standard_columns(),
    Column("name", String(NAME_CHARS), nullable=False),
    Column("admin_state_up", Boolean, nullable=False),
    Column("shared", Boolean, nullable=False, index=True),
    Column("external", Boolean, nullable=False, index=True),
    Column("is_default", Boolean, nullable=False),
    Column("mtu", Integer, nullable=False),
    Column("port_security_enabled", Boolean, nullable=False),
    Column("dns_domain", String(NAME_CHARS), nullable=False),
    Column("network_type", String(16), nullable=False),
    Column("physical_network", String(PHYSICAL_NETWORK_CHARS)),
    Column("segmentation_id", Integer),
    Column("availability_zone_hints", Json, nullable=False),
)

SEGMENTS = Table(
    "segments",
    METADATA,
    Column("network_type", String(16), primary_key=True),
    Column("physical_network", String(PHYSICAL_NETWORK_CHARS), primary_key=True),
    Column("segmentation_id", Integer, primary_key=True, autoincrement=False),
    Column("network_id", String(ID_CHARS), ForeignKey("networks.id", ondelete="CASCADE"), nullable=False, index=True),
)
"""What is taken. Flat segments have the id 0, tunnels the physical network ""."""

FILTERS: dict[str, Filter] = {
    **{
        name: NETWORKS.c[name]
        for name in (
            "id", "project_id", "name", "description", "admin_state_up", "shared", "is_default", "mtu",
            "port_security_enabled", "dns_domain", "revision_number",
        )
    },
    "tenant_id": NETWORKS.c.project_id,
    "router:external": NETWORKS.c.external,
    "provider:network_type": NETWORKS.c.network_type,
    "provider:physical_network": NETWORKS.c.physical_network,
    "provider:segmentation_id": NETWORKS.c.segmentation_id,
    **tags.filters(NETWORKS),
}  # fmt: skip


def visible_to(project_id: str | None) -> ColumnElement[bool]:
    """Networks that a project may see."""
    return or_(NETWORKS.c.project_id == project_id, NETWORKS.c.shared, NETWORKS.c.external)


def _load(tx: Tx, rows: Iterable) -> list[Network]:
    from pileus.services.network.db.subnets import SUBNETS

    rows = list(rows)
    ids = [row.id for row in rows]
    subnets: defaultdict[str, list[str]] = defaultdict(list)
    found = select(SUBNETS.c.id, SUBNETS.c.network_id).where(SUBNETS.c.network_id.in_(ids))
    for row in tx.all(found.order_by(SUBNETS.c.created_at)):
        subnets[row.network_id].append(row.id)
    words = tags.of(tx, ids)
    return [
        Network(**row._mapping, subnets=tuple(subnets[row.id]), tags=words.get(row.id, ())) for row in rows
    ]


def page(tx: Tx, query: ListQuery, *scope: ColumnElement[bool]) -> list[Network]:
    """One page of networks."""
    return _load(tx, select_page(tx, NETWORKS, query, FILTERS, *scope))


def get(tx: Tx, network_id: str) -> Network | None:
    """One network, or None."""
    found = _load(tx, tx.all(select(NETWORKS).where(NETWORKS.c.id == network_id)))
    return found[0] if found else None


def get_bare(tx: Tx, network_id: str) -> Network | None:
    """One network without the ids of its subnets and its tags, in one query."""
    row = tx.first(_BARE, {"network_id": network_id})
    return None if row is None else Network(**row._mapping)


_BARE = select(NETWORKS).where(NETWORKS.c.id == bindparam("network_id"))


def by_ids(tx: Tx, ids: Iterable[str]) -> dict[str, Network]:
    """Several networks by id, whole."""
    wanted = sorted(set(ids))
    return {network.id: network for network in _load(tx, tx.all(select(NETWORKS).where(NETWORKS.c.id.in_(wanted))))}


def count_of_project(tx: Tx, project_id: str) -> int:
    return tx.scalar(select(func.count()).select_from(NETWORKS).where(NETWORKS.c.project_id == project_id))


def claim_segment(tx: Tx, network_id: str, network_type: str, physical_network: str, segmentation_id: int) -> bool:
    """Take a segment for a network; False if it is taken."""
    return insert_unless_taken(
        tx, SEGMENTS,
        {
            "network_type": network_type, "physical_network": physical_network, "segmentation_id": segmentation_id,
            "network_id": network_id,
        },
    )  # fmt: skip


def taken_segments(tx: Tx, network_type: str, physical_network: str, first: int, last: int) -> set[int]:
    """Segment ids between two bounds (inclusive) that are taken."""
    c = SEGMENTS.c
    statement = select(c.segmentation_id).where(
        c.network_type == network_type, c.physical_network == physical_network, c.segmentation_id.between(first, last)
    )
    return {row.segmentation_id for row in tx.all(statement)}


def remove(tx: Tx, network_id: str) -> None:
    """Delete the row and free its segment."""
    tx.execute(delete(SEGMENTS).where(SEGMENTS.c.network_id == network_id))
    tx.execute(delete(NETWORKS).where(NETWORKS.c.id == network_id))
    tags.forget(tx, (network_id,))


def owners(tx: Tx, ids: Iterable[str]) -> dict[str, tuple[str, bool, bool]]:
    """Project, shared and external by network id: what policy asks of a network when it judges what is in it."""
    c = NETWORKS.c
    statement = select(c.id, c.project_id, c.shared, c.external).where(c.id.in_(sorted(set(ids))))
    return {row.id: (row.project_id, row.shared, row.external) for row in tx.all(statement)}
