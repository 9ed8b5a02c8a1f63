"""Giving addresses to ports. What is taken is decided by the primary key of the table, whatever else happens."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from pileus.kernel.db import Tx
from pileus.services.network.db import ports, subnets
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.ports import Address
from pileus.services.network.db.subnets import Subnet
from pileus.services.network.errors import (
    InvalidInput,
    InvalidIpForNetwork,
    InvalidIpForSubnet,
    IpAddressAlreadyAllocated,
    IpAddressGenerationFailure,
)
from pileus.services.network.logic import addresses as arithmetic

ATTEMPTS = 4


class Claimant:
    """A port that gets addresses in this transaction. A router's port never makes its own in a SLAAC subnet."""

    def __init__(
        self, port_id: str, network_id: str, mac: str, *, is_router: bool, device_owner: str = ""
    ) -> None:
        self.port_id = port_id
        self.network_id = network_id
        self.mac = mac
        self.is_router = is_router
        self.device_owner = device_owner
        self.position = 0


def allocate(tx: Tx, fabric: Fabric, port: Claimant, wanted: Sequence[dict[str, Any]] | None) -> list[Address]:
    """Give a port the addresses it asks for; None: one per IP version, and one per SLAAC subnet.

    wanted: dicts of `subnet_id` and/or `ip_address`.
    """
    known = subnets.of_networks(tx, (port.network_id,))
    if wanted is None:
        return _allocate_any(tx, fabric, port, known)
    if len(wanted) > fabric.config.max_fixed_ips_per_port:
        raise InvalidInput(reason="Exceeded maximum amount of fixed ips per port")
    return [_allocate_one(tx, fabric, port, known, entry) for entry in wanted]


def _allocate_any(tx: Tx, fabric: Fabric, port: Claimant, known: Iterable[Subnet]) -> list[Address]:
    # Subnets kept for this kind of port come first, those kept for others not at all.
    usable = [s for s in known if not s.service_types or port.device_owner in s.service_types]
    usable.sort(key=lambda s: not s.service_types)
    slaac = [s for s in usable if s.is_slaac]
    found = []
    for version in (4, 6):
        choices = [s for s in usable if s.ip_version == version and not s.is_slaac]
        if choices:
            found.append(_from_any(tx, fabric, port, choices))
    if not port.is_router:
        found += [_take(tx, port, s, _slaac(s, port)) for s in slaac]
    return found


def _allocate_one(
    tx: Tx, fabric: Fabric, port: Claimant, known: Sequence[Subnet], entry: dict[str, Any]
) -> Address:
    subnet = _subnet_of(port, known, entry)
    ip = entry.get("ip_address")
    if ip is not None:
        network = ipaddress.ip_network(subnet.cidr)
        number, hosts = int(ipaddress.ip_address(ip)), arithmetic.host_range(network)
        if not hosts.first <= number <= hosts.last or ipaddress.ip_address(ip).version != subnet.ip_version:
            raise InvalidIpForSubnet(ip=ip)
        if subnet.is_slaac and not port.is_router and ip != _slaac(subnet, port):
            raise InvalidInput(
                reason=f"IPv6 address {ip} can not be directly assigned to a port on subnet {subnet.id} as the "
                "subnet is configured for automatic addresses"
            )
        return _take(tx, port, subnet, ip)
    if subnet.is_slaac and not port.is_router:
        return _take(tx, port, subnet, _slaac(subnet, port))
    return _from_any(tx, fabric, port, [subnet])


def _subnet_of(port: Claimant, known: Sequence[Subnet], entry: dict[str, Any]) -> Subnet:
    subnet_id, ip = entry.get("subnet_id"), entry.get("ip_address")
    if subnet_id is not None:
        for subnet in known:
            if subnet.id == subnet_id:
                return subnet
        raise InvalidInput(
            reason=f"Failed to create port on network {port.network_id}, because fixed_ips included invalid subnet "
            f"{subnet_id}"
        )
    if ip is None:
        raise InvalidInput(reason="IP allocation requires subnet_id or ip_address")
    address = ipaddress.ip_address(ip)
    for subnet in known:
        if address in ipaddress.ip_network(subnet.cidr):
            return subnet
    raise InvalidIpForNetwork(ip=ip)


def _slaac(subnet: Subnet, port: Claimant) -> str:
    return arithmetic.slaac_address(ipaddress.ip_network(subnet.cidr), port.mac)


def _take(tx: Tx, port: Claimant, subnet: Subnet, ip: str) -> Address:
    """One certain address."""
    if not ports.claim_address(tx, port.port_id, subnet.id, ip, port.position):
        raise IpAddressAlreadyAllocated(ip=ip, subnet_id=subnet.id)
    port.position += 1
    return Address(subnet.id, ip)


def _from_any(tx: Tx, fabric: Fabric, port: Claimant, choices: Sequence[Subnet]) -> Address:
    """An address of the first subnet that has one."""
    for subnet in choices:
        network = ipaddress.ip_network(subnet.cidr)
        ranges = arithmetic.pool_ranges(subnet.allocation_pools)
        candidates = arithmetic.random_candidates(network, ranges, fabric.random)
        for _ in range(ATTEMPTS):
            taken = ports.taken_among(tx, subnet.id, candidates)
            for ip in candidates:
                if ip not in taken and ports.claim_address(tx, port.port_id, subnet.id, ip, port.position):
                    port.position += 1
                    return Address(subnet.id, ip)
            candidates = arithmetic.free_addresses(network, ranges, ports.all_taken(tx, subnet.id))
            if not candidates:
                break
    raise IpAddressGenerationFailure(network_id=port.network_id)


def reallocate(
    tx: Tx, fabric: Fabric, port: Claimant, old: Sequence[Address], wanted: Sequence[dict[str, Any]]
) -> None:
    """Change a port's addresses to what is wanted. Those asked for again, by address or just by subnet, stay."""
    left = list(old)
    missing: list[dict[str, Any]] = []
    for entry in sorted(wanted, key=lambda e: e.get("ip_address") is None):
        match = next((a for a in left if _means(entry, a)), None)
        if match is not None:
            left.remove(match)
        else:
            missing.append(entry)
    ports.free_addresses(tx, port.port_id, left)
    port.position = len(old) + 1
    if len(wanted) > fabric.config.max_fixed_ips_per_port:
        raise InvalidInput(reason="Exceeded maximum amount of fixed ips per port")
    known = subnets.of_networks(tx, (port.network_id,))
    for entry in missing:
        _allocate_one(tx, fabric, port, known, entry)


def _means(entry: dict[str, Any], address: Address) -> bool:
    return entry.get("ip_address") in (None, address.ip_address) and entry.get("subnet_id") in (None, address.subnet_id)
