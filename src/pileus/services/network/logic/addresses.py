"""Address arithmetic: pools of a subnet, candidates for a new address, hardware addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from random import Random

import msgspec

from pileus.services.network.errors import (
    GatewayConflictWithAllocationPools,
    InvalidAllocationPool,
    OutOfBoundsAllocationPool,
    OverlappingAllocationPools,
)

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

CANDIDATES = 8
MAX_WALK = 1 << 16  # addresses looked at, one after the other, in a nearly full pool


class Range(msgspec.Struct, frozen=True, order=True):
    """First and last address, both included, as numbers."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many; more than `len` could say of an IPv6 subnet."""
        return self.last - self.first + 1


def address_at(network: IpNetwork, number: int) -> str:
    """A number as an address of the network's version."""
    return str(ipaddress.IPv4Address(number) if network.version == 4 else ipaddress.IPv6Address(number))


def host_range(network: IpNetwork) -> Range:
    """The addresses that hosts may have. IPv4 keeps the network and broadcast addresses for themselves, IPv6 the
    first (routers' anycast)."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4 and network.prefixlen < 31:
        return Range(first + 1, last - 1)
    if network.version == 6 and network.prefixlen < 127:
        return Range(first + 1, last)
    return Range(first, last)


def default_gateway(network: IpNetwork) -> str | None:
    """The first host; None where there is room for one host only."""
    hosts = host_range(network)
    return address_at(network, hosts.first) if hosts.size > 1 else None


def default_pools(network: IpNetwork, gateway: str | None) -> list[dict[str, str]]:
    """All hosts but the gateway."""
    hosts = host_range(network)
    ranges = [hosts]
    if gateway is not None and hosts.first <= (at := int(ipaddress.ip_address(gateway))) <= hosts.last:
        ranges = [part for part in (Range(hosts.first, at - 1), Range(at + 1, hosts.last)) if part.size > 0]
    return [{"start": address_at(network, part.first), "end": address_at(network, part.last)} for part in ranges]


def pool_ranges(pools: Iterable[dict[str, str]]) -> list[Range]:
    """Pools as numbers."""
    return [Range(int(ipaddress.ip_address(p["start"])), int(ipaddress.ip_address(p["end"]))) for p in pools]


def check_pools(network: IpNetwork, pools: Sequence[dict[str, str]], gateway: str | None) -> list[dict[str, str]]:
    """Pools in canonical spelling; raises what is wrong with them."""
    hosts = host_range(network)
    ranges: list[Range] = []
    for pool in pools:
        shown = f"{pool['start']}-{pool['end']}"
        start, end = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
        if start.version != network.version or end.version != network.version or int(end) < int(start):
            raise InvalidAllocationPool(pool=shown)
        if int(start) < hosts.first or int(end) > hosts.last:
            raise OutOfBoundsAllocationPool(pool=shown, cidr=network)
        ranges.append(Range(int(start), int(end)))
    ordered = sorted(ranges)
    for left, right in pairwise(ordered):
        if right.first <= left.last:
            raise OverlappingAllocationPools(
                pool_1=_shown(network, left), pool_2=_shown(network, right), cidr=network
            )
    if gateway is not None:
        at = int(ipaddress.ip_address(gateway))
        for part in ranges:
            if part.first <= at <= part.last:
                raise GatewayConflictWithAllocationPools(ip=gateway, pool=_shown(network, part))
    return [{"start": address_at(network, part.first), "end": address_at(network, part.last)} for part in ranges]


def _shown(network: IpNetwork, part: Range) -> str:
    return f"{address_at(network, part.first)}-{address_at(network, part.last)}"


def random_candidates(network: IpNetwork, ranges: Sequence[Range], random: Random) -> list[str]:
    """A few different addresses from the pools, however large these are."""
    total = sum(part.size for part in ranges)
    if total <= CANDIDATES:
        picks: Iterable[int] = random.sample(range(total), total)
    else:
        picks = dict.fromkeys(random.randrange(total) for _ in range(CANDIDATES))
    return [address_at(network, _nth(ranges, pick)) for pick in picks]


def _nth(ranges: Sequence[Range], number: int) -> int:
    for part in ranges:
        if number < part.size:
            return part.first + number
        number -= part.size
    raise IndexError(number)


def free_addresses(network: IpNetwork, ranges: Sequence[Range], taken: Collection[str]) -> list[str]:
    """Up to `CANDIDATES` free addresses in order; walks past the taken ones, never the whole of a large pool."""
    numbers = {int(ipaddress.ip_address(address)) for address in taken}
    found: list[str] = []
    for part in ranges:
        for number in range(part.first, min(part.last, part.first + len(numbers) + MAX_WALK) + 1):
            if number not in numbers:
                found.append(address_at(network, number))
                if len(found) == CANDIDATES:
                    return found
    return found


def random_mac(base: str, random: Random) -> str:
    """A hardware address whose first octets are those of `base` (three or four that are not 00)."""
    octets = base.lower().split(":")[:4]
    if len(octets) == 4 and octets[3] == "00":
        octets = octets[:3]
    return ":".join([*octets, *(f"{random.randrange(256):02x}" for _ in range(6 - len(octets)))])


def slaac_address(network: IpNetwork, mac: str) -> str:
    """The address that a host makes from its hardware address (RFC 4291, appendix A: modified EUI-64)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 2
    identifier = int.from_bytes(bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]]), "big")
    return str(ipaddress.IPv6Address(int(network.network_address) | identifier))
