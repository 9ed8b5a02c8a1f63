"""What the network service's database says, and what it has the agents of one host make of it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network.db.agents import AGENTS, DHCP_SERVICES
from pileus.services.network.db.floating_ips import FLOATING_IPS
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.networks import NETWORKS, SEGMENTS
from pileus.services.network.db.ports import ADDRESSES, PORTS
from pileus.services.network.db.routers import ROUTER_PORTS, ROUTERS
from pileus.services.network.rpc import HostDhcp, HostNetworks, HostRouters
from pileus.services.network.tasks.desired_state import dhcp_of_host, networks_of_host, routers_of_host


class NetworkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A network and the segment that its row names."""

    id: str
    project_id: str
    name: str
    admin_state_up: bool
    network_type: str
    physical_network: str | None
    segmentation_id: int | None

    @property
    def segment(self) -> tuple[str, str, int]:
        """As the table of claimed segments has it."""
        return self.network_type, self.physical_network or "", self.segmentation_id or 0


class PortRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A port. host "": bound nowhere. trusted: the cloud plugged it itself."""

    id: str
    project_id: str
    network_id: str
    mac_address: str
    admin_state_up: bool
    status: str
    device_id: str
    device_owner: str
    host: str
    vif_type: str
    trusted: bool
    updated_at: datetime


class AddressRecord(msgspec.Struct, frozen=True):
    """An address and the port that has it."""

    subnet_id: str
    ip_address: str
    port_id: str


class RouterRecord(msgspec.Struct, frozen=True):
    """A router and the host of its agent."""

    id: str
    project_id: str
    host: str


class FloatingIpRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A floating IP, the port that holds its address, and where it leads."""

    id: str
    project_id: str
    floating_network_id: str
    floating_port_id: str
    floating_ip_address: str
    port_id: str | None
    fixed_ip_address: str | None
    router_id: str | None


class NetworkRecords(msgspec.Struct, frozen=True, kw_only=True):
    """By id, but: segments (type, physical network, id) by network; router_ports: router by port; dhcp_ports: port by
    network. hosts: those of agents."""

    networks: dict[str, NetworkRecord]
    segments: dict[tuple[str, str, int], str]
    ports: dict[str, PortRecord]
    addresses: tuple[AddressRecord, ...]
    routers: dict[str, RouterRecord]
    router_ports: dict[str, str]
    floating_ips: dict[str, FloatingIpRecord]
    dhcp_ports: dict[str, str]
    hosts: frozenset[str]


class DesiredHost(msgspec.Struct, frozen=True):
    """What the agents of one host are told to have there."""

    l2: HostNetworks
    l3: HostRouters
    dhcp: HostDhcp


def _columns(table, kind: type[msgspec.Struct]):
    return [table.c[name] for name in kind.__struct_fields__]


def read(tx: Tx) -> NetworkRecords:
    """All of it, in nine statements."""

    def by_id(table, kind):
        return {row.id: kind(**row._mapping) for row in tx.all(select(*_columns(table, kind)))}

    s = SEGMENTS.c
    return NetworkRecords(
        networks=by_id(NETWORKS, NetworkRecord),
        segments={
            (row.network_type, row.physical_network, row.segmentation_id): row.network_id
            for row in tx.all(select(s.network_type, s.physical_network, s.segmentation_id, s.network_id))
        },
        ports=by_id(PORTS, PortRecord),
        addresses=tuple(AddressRecord(*row) for row in tx.all(select(*_columns(ADDRESSES, AddressRecord)))),
        routers=by_id(ROUTERS, RouterRecord),
        router_ports={row.port_id: row.router_id for row in tx.all(select(ROUTER_PORTS))},
        floating_ips=by_id(FLOATING_IPS, FloatingIpRecord),
        dhcp_ports={row.network_id: row.port_id for row in tx.all(select(DHCP_SERVICES))},
        hosts=frozenset(row.host for row in tx.all(select(AGENTS.c.host).distinct())),
    )


def read_desired(tx: Tx, fabric: Fabric, host: str) -> DesiredHost:
    """The very answers that the host's agents get."""
    return DesiredHost(networks_of_host(tx, host), routers_of_host(tx, host), dhcp_of_host(tx, fabric, host))
