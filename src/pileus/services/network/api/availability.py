"""Availability zones, and how many addresses networks have left."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from typing import Any

from sqlalchemy import func, select

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.db import agents, networks, subnets
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import ListQuery
from pileus.services.network.db.networks import Network
from pileus.services.network.db.ports import ADDRESSES
from pileus.services.network.errors import AvailabilityZoneNotFound, NetworkNotFound
from pileus.services.network.logic.addresses import host_range

MAX_NETWORKS = 10_000


async def list_zones(call: Call[None]) -> dict[str, Any]:
    fabric = call.rt.get(Fabric)

    def load(tx: Tx) -> dict[str, bool]:
        kinds = {"network": "dhcp", "router": "l3"}
        present = {name: agents.of_kind(tx, kind) for name, kind in kinds.items()}
        return {name: any(agent.admin_state_up for agent in found) for name, found in present.items() if found}

    zones = await call.rt.db.read(load)
    return {
        "availability_zones": [
            {
                "name": fabric.config.availability_zone,
                "resource": name,
                "state": "available" if up else "unavailable",
            }
            for name, up in zones.items()
        ]
    }


def check_hints(call: Call[Any], values: dict[str, Any]) -> None:
    """Raise unless every zone that is asked for is there."""
    for zone in values.get("availability_zone_hints", ()):
        if zone != call.rt.get(Fabric).config.availability_zone:
            raise AvailabilityZoneNotFound(zone=zone)


def _availability(tx: Tx, found: list[Network]) -> list[dict[str, Any]]:
    by_network: defaultdict[str, list[Any]] = defaultdict(list)
    for subnet in subnets.of_networks(tx, [network.id for network in found]):
        by_network[subnet.network_id].append(subnet)
    ids = [subnet.id for group in by_network.values() for subnet in group]
    counted = select(ADDRESSES.c.subnet_id, func.count().label("used")).where(ADDRESSES.c.subnet_id.in_(ids))
    used = {row.subnet_id: row.used for row in tx.all(counted.group_by(ADDRESSES.c.subnet_id))}
    return [_view(network, by_network[network.id], used) for network in found]


def _view(network: Network, own: list[Any], used: dict[str, int]) -> dict[str, Any]:
    parts = []
    for subnet in own:
        hosts = host_range(ipaddress.ip_network(subnet.cidr))
        parts.append(
            {
                "subnet_id": subnet.id, "subnet_name": subnet.name, "cidr": subnet.cidr,
                "ip_version": subnet.ip_version, "total_ips": hosts.last - hosts.first + 1,
                "used_ips": used.get(subnet.id, 0),
            }
        )  # fmt: skip
    return {
        "network_id": network.id,
        "network_name": network.name,
        "project_id": network.project_id,
        "tenant_id": network.project_id,
        "total_ips": sum(part["total_ips"] for part in parts),
        "used_ips": sum(part["used_ips"] for part in parts),
        "subnet_ip_availability": parts,
    }


async def list_ip_availabilities(call: Call[None]) -> dict[str, Any]:
    names = {"network_id": "id", "network_name": "name", "project_id": "project_id", "tenant_id": "project_id"}
    filters = {names[key]: call.query.getlist(key) for key in call.query if key in names}

    def load(tx: Tx) -> list[dict[str, Any]]:
        return _availability(tx, networks.page(tx, ListQuery(filters=filters, sort=(), limit=MAX_NETWORKS)))

    found = await call.rt.db.read(load)
    version = call.query.get("ip_version")
    if version:
        found = [f for f in found if any(str(p["ip_version"]) == version for p in f["subnet_ip_availability"])]
    return {"network_ip_availabilities": found}


async def show_ip_availability(call: Call[None]) -> dict[str, Any]:
    def load(tx: Tx) -> list[dict[str, Any]]:
        network = networks.get(tx, call.path["network_id"])
        if network is None:
            raise NetworkNotFound(id=call.path["network_id"])
        return _availability(tx, [network])

    return {"network_ip_availability": (await call.rt.db.read(load))[0]}


IP = "/v2.0/network-ip-availabilities"
ROUTES = (
    Route(method="GET", path="/v2.0/availability_zones", handler=list_zones, policy="get_availability_zone"),
    Route(method="GET", path=IP, handler=list_ip_availabilities, policy="get_network_ip_availability"),
    Route(
        method="GET", path=IP + "/{network_id}", handler=show_ip_availability, policy="get_network_ip_availability"
    ),
)
