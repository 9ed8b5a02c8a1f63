"""Cutting subnets from the prefixes of a pool."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from pileus.services.network.errors import InvalidInput, SubnetAllocationError
from pileus.services.network.logic.addresses import IpNetwork, address_at

SMALLEST_MIN = {4: 8, 6: 64}
BITS = {4: 32, 6: 128}


def compact(prefixes: Iterable[str]) -> tuple[int, list[str]]:
    """IP version and prefixes of a pool, neighbours and overlaps joined."""
    networks = [ipaddress.ip_network(prefix) for prefix in prefixes]
    versions = {network.version for network in networks}
    if len(versions) != 1:
        raise InvalidInput(reason="Cannot mix IPv4 and IPv6 prefixes in a subnet pool, and at least one is needed")
    version = versions.pop()
    joined: Iterable[IpNetwork] = ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
    return version, [str(network) for network in joined]


def check_lengths(version: int, minimum: int, default: int, maximum: int) -> None:
    """The three prefix lengths are in order and within what the version has."""
    if not 0 < minimum <= default <= maximum <= BITS[version]:
        raise InvalidInput(
            reason=f"Illegal prefix bounds: min_prefixlen={minimum}, default_prefixlen={default}, "
            f"max_prefixlen={maximum}"
        )


def covers(prefixes: Iterable[str], cidr: str) -> bool:
    """Whether a network lies within one of the prefixes."""
    wanted = ipaddress.ip_network(cidr)
    found = (ipaddress.ip_network(prefix) for prefix in prefixes)
    return any(p.version == wanted.version and wanted.subnet_of(p) for p in found)  # type: ignore[arg-type]


def first_free(prefixes: Iterable[str], prefixlen: int, taken: Iterable[str]) -> str:
    """The first network of a length that overlaps none of the taken ones. It jumps from one taken network to the next,
    so its cost is that of the taken ones and not of the pool's size."""
    used = sorted((int(n.network_address), int(n.broadcast_address)) for n in map(ipaddress.ip_network, taken))
    for prefix in map(ipaddress.ip_network, prefixes):
        if prefix.prefixlen > prefixlen:
            continue
        size = 1 << (BITS[prefix.version] - prefixlen)
        start, last = int(prefix.network_address), int(prefix.broadcast_address)
        for first, end in used:
            if end >= start and first < start + size:
                start = (end // size + 1) * size
        if start + size - 1 <= last:
            return f"{address_at(prefix, start)}/{prefixlen}"
    raise SubnetAllocationError(reason=f"Insufficient prefix space to allocate subnet size /{prefixlen}")
