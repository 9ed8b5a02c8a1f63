"""Creating, changing and deleting networks and subnets."""

from __future__ import annotations

import ipaddress
from typing import Any

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network import states
from pileus.services.network.db import agents, networks, ports, subnets
from pileus.services.network.db.intents.dhcp import ensure_dhcp, follow_subnets, remove_dhcp
from pileus.services.network.db.intents.fabric import Fabric, hosts_of_network, l3_hosts_of_network
from pileus.services.network.db.intents.ports import create_port, delete_port
from pileus.services.network.db.intents.security_groups import ensure_default_group
from pileus.services.network.db.metadata import revise, stamped
from pileus.services.network.db.networks import NETWORKS, Network
from pileus.services.network.db.ports import ADDRESSES, PORTS
from pileus.services.network.db.subnets import SUBNETS, Subnet
from pileus.services.network.drivers.type.interface import Segment, TypeDriver
from pileus.services.network.errors import (
    ExternalNetworkInUse,
    GatewayIpInUse,
    InvalidInput,
    InvalidSharedSetting,
    NetworkInUse,
    NoNetworkAvailable,
    SubnetInUse,
)
from pileus.services.network.quotas import claim

SEGMENT_ATTEMPTS = 32
MAX_SHOWN_PORTS = 5


def create_network(tx: Tx, fabric: Fabric, project_id: str, values: dict[str, Any]) -> Network:
    """Make a network; `values` are columns of `NETWORKS`, of the segment only what the operator asks for.

    `mtu` 0 means the largest that the segment's type carries.
    """
    claim(tx, fabric.limits, project_id, "network")
    ensure_default_group(tx, project_id)
    wanted = Segment(values.get("network_type") or "", values.get("physical_network"), values.get("segmentation_id"))
    kinds = [wanted.network_type] if wanted.network_type else fabric.config.tenant_network_types
    if not wanted.network_type and (wanted.physical_network or wanted.segmentation_id is not None):
        raise InvalidInput(reason="network_type required")
    row = stamped(tx, {**values, "project_id": project_id})
    row |= {"network_type": "", "physical_network": None, "segmentation_id": None}
    tx.execute(NETWORKS.insert(), row)
    segment = _claim_segment(tx, fabric, row["id"], wanted, list(kinds))
    largest = fabric.types[segment.network_type].max_mtu()
    if row["mtu"] > largest:
        raise InvalidInput(reason=f"Requested MTU is too big, maximum is {largest}")
    changes = {
        "network_type": segment.network_type, "physical_network": segment.physical_network,
        "segmentation_id": segment.segmentation_id, "mtu": row["mtu"] or largest,
    }  # fmt: skip
    tx.execute(NETWORKS.update().where(NETWORKS.c.id == row["id"]).values(**changes))
    return _network(tx, row["id"])


def _network(tx: Tx, network_id: str) -> Network:
    network = networks.get(tx, network_id)
    assert network is not None, "a network of this transaction"
    return network


def _claim_segment(tx: Tx, fabric: Fabric, network_id: str, wanted: Segment, kinds: list[str]) -> Segment:
    for kind in kinds:
        driver = fabric.types.get(kind)
        if driver is None:
            raise InvalidInput(reason=f"provider:network_type '{kind}' not supported")
        asked = Segment(kind, wanted.physical_network, wanted.segmentation_id)
        if wanted.network_type:
            driver.check(asked)
        if asked.segmentation_id is not None or (kind == "flat" and asked.physical_network):
            if not networks.claim_segment(tx, network_id, *asked.key):
                raise driver.taken(asked)
            return asked
        found = _any_segment(tx, fabric, network_id, driver, asked.physical_network)
        if found is not None:
            return found
    raise NoNetworkAvailable()


def _any_segment(
    tx: Tx, fabric: Fabric, network_id: str, driver: TypeDriver, physical_network: str | None
) -> Segment | None:
    for part in driver.ranges(physical_network):
        size = part.last - part.first + 1
        for _ in range(SEGMENT_ATTEMPTS):
            number = part.first + fabric.random.randrange(size)
            if networks.claim_segment(tx, network_id, driver.name, part.physical_network, number):
                return _segment(driver, part.physical_network, number)
        taken = networks.taken_segments(tx, driver.name, part.physical_network, part.first, part.last)
        for number in (n for n in range(part.first, part.last + 1) if n not in taken):
            if networks.claim_segment(tx, network_id, driver.name, part.physical_network, number):
                return _segment(driver, part.physical_network, number)
    return None


def _segment(driver: TypeDriver, physical_network: str, number: int) -> Segment:
    return Segment(driver.name, physical_network or None, number if driver.name != "flat" else None)


def update_network(tx: Tx, fabric: Fabric, network: Network, values: dict[str, Any]) -> Network:
    """Change a network; its segment stays."""
    if values.get("shared") is False and network.shared:
        others = select(PORTS.c.id).where(
            PORTS.c.network_id == network.id, PORTS.c.project_id.not_in(("", network.project_id))
        )
        if tx.scalar(others.limit(1)) is not None:
            raise InvalidSharedSetting(id=network.id)
    if values.get("external") is False and network.external:
        used = (states.OWNER_ROUTER_GATEWAY, states.OWNER_FLOATING_IP)
        held = select(PORTS.c.id).where(PORTS.c.network_id == network.id, PORTS.c.device_owner.in_(used))
        if tx.scalar(held.limit(1)) is not None:
            raise ExternalNetworkInUse(id=network.id)
    if "mtu" in values:
        largest = fabric.types[network.network_type].max_mtu()
        if values["mtu"] > largest:
            raise InvalidInput(reason=f"Requested MTU is too big, maximum is {largest}")
        values = values | {"mtu": values["mtu"] or largest}
    revise(tx, NETWORKS, (network.id,), values)
    _tell_all(tx, fabric, network.id)
    if values.get("admin_state_up") is False:
        remove_dhcp(tx, fabric, network.id, drop_port=delete_port)
    return _network(tx, network.id)


def _tell_all(tx: Tx, fabric: Fabric, network_id: str) -> None:
    fabric.changed(tx, "l2", hosts_of_network(tx, network_id))
    fabric.changed(tx, "dhcp", agents.dhcp_hosts(tx, (network_id,)).values())
    fabric.changed(tx, "l3", l3_hosts_of_network(tx, network_id))


def delete_network(tx: Tx, fabric: Fabric, network: Network) -> None:
    """Remove a network without ports but the cloud's DHCP port; its subnets go with it."""
    busy = tx.all(select(PORTS.c.id, PORTS.c.trusted, PORTS.c.device_owner).where(PORTS.c.network_id == network.id))
    held = [row.id for row in busy if not (row.trusted and row.device_owner in states.AUTO_DELETED_OWNERS)]
    if held:
        raise NetworkInUse(id=network.id, ports=", ".join(held[:MAX_SHOWN_PORTS]))
    remove_dhcp(tx, fabric, network.id, drop_port=delete_port)
    for row in busy:
        port = ports.get(tx, row.id)
        if port is not None:
            delete_port(tx, fabric, port, by_user=False)
    subnets.remove(tx, network.subnets)
    networks.remove(tx, network.id)


def create_subnet(tx: Tx, fabric: Fabric, project_id: str, network: Network, values: dict[str, Any]) -> Subnet:
    """Make a subnet that overlaps none of its network; `values` are columns of `SUBNETS`."""
    claim(tx, fabric.limits, project_id, "subnet")
    wanted = ipaddress.ip_network(values["cidr"])
    for other in subnets.of_networks(tx, (network.id,)):
        if wanted.version == other.ip_version and wanted.overlaps(ipaddress.ip_network(other.cidr)):
            raise InvalidInput(
                reason=f"Requested subnet with cidr: {wanted} for network: {network.id} overlaps with another subnet"
            )
    row = stamped(tx, {**values, "project_id": project_id, "network_id": network.id})
    tx.execute(SUBNETS.insert(), row)
    revise(tx, NETWORKS, (network.id,))
    follow_subnets(tx, fabric, network.id, drop_port=delete_port)
    if values["enable_dhcp"] and _has_guests(tx, network.id):
        ensure_dhcp(tx, fabric, network.id, make_port=create_port)
    _tell_all(tx, fabric, network.id)
    return _subnet(tx, row["id"])


def _subnet(tx: Tx, subnet_id: str) -> Subnet:
    subnet = subnets.get(tx, subnet_id)
    assert subnet is not None, "a subnet of this transaction"
    return subnet


def _has_guests(tx: Tx, network_id: str) -> bool:
    owned = PORTS.c.device_owner.not_like("network:%")
    return tx.scalar(select(PORTS.c.id).where(PORTS.c.network_id == network_id, owned).limit(1)) is not None


def update_subnet(tx: Tx, fabric: Fabric, subnet: Subnet, values: dict[str, Any]) -> Subnet:
    """Change a subnet; its CIDR stays."""
    if "gateway_ip" in values and values["gateway_ip"] != subnet.gateway_ip:
        _check_gateway_is_free(tx, subnet)
    revise(tx, SUBNETS, (subnet.id,), values)
    if {"enable_dhcp"} & set(values):
        follow_subnets(tx, fabric, subnet.network_id, drop_port=delete_port)
        if values["enable_dhcp"] and _has_guests(tx, subnet.network_id):
            ensure_dhcp(tx, fabric, subnet.network_id, make_port=create_port)
    _tell_all(tx, fabric, subnet.network_id)
    return _subnet(tx, subnet.id)


def _check_gateway_is_free(tx: Tx, subnet: Subnet) -> None:
    """A router that holds the old gateway address would no longer be the gateway."""
    holder = (
        select(PORTS.c.id).join(ADDRESSES, ADDRESSES.c.port_id == PORTS.c.id)
        .where(ADDRESSES.c.subnet_id == subnet.id, ADDRESSES.c.ip_address == subnet.gateway_ip, PORTS.c.trusted)
    )  # fmt: skip
    port_id = tx.scalar(holder)
    if port_id is not None:
        raise GatewayIpInUse(ip=subnet.gateway_ip, port_id=port_id)


def delete_subnet(tx: Tx, fabric: Fabric, subnet: Subnet) -> None:
    """Remove a subnet that no port has an address of, but the cloud's DHCP port and self-made ones."""
    statement = (
        select(PORTS.c.id, PORTS.c.trusted, PORTS.c.device_owner).join(ADDRESSES, ADDRESSES.c.port_id == PORTS.c.id)
        .where(ADDRESSES.c.subnet_id == subnet.id)
    )  # fmt: skip
    users = tx.all(statement)
    for row in users:
        automatic = row.trusted and row.device_owner in states.AUTO_DELETED_OWNERS
        if not automatic and not (subnet.is_slaac and not row.trusted):
            raise SubnetInUse(id=subnet.id, reason="One or more ports have an IP allocation from this subnet")
    tx.execute(ADDRESSES.delete().where(ADDRESSES.c.subnet_id == subnet.id))
    revise(tx, PORTS, [row.id for row in users if not row.trusted])
    subnets.remove(tx, (subnet.id,))
    revise(tx, NETWORKS, (subnet.network_id,))
    follow_subnets(tx, fabric, subnet.network_id, drop_port=delete_port)
    _tell_all(tx, fabric, subnet.network_id)
