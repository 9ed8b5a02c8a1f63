"""Forget tracked connections, so that changed rules also hold for flows that already run."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from .namespaces import run_inside

NOTHING_DELETED = 1  # conntrack's exit code when no entry matched
MAX_ADDRESSES = 32  # beyond this, dropping the zone's whole table is cheaper than one process per address


async def forget_addresses(zone: int, addresses: Sequence[str]) -> None:
    """Drop the tracked connections of these addresses in a zone, in both directions."""
    if len(addresses) > MAX_ADDRESSES:
        await forget_zone(zone)
        return
    for address in addresses:
        family = "ipv6" if ipaddress.ip_address(address).version == 6 else "ipv4"
        for side in ("--orig-src", "--orig-dst"):
            await _delete(("-f", family, "-w", str(zone), side, address))


async def forget_zone(zone: int) -> None:
    """Drop all tracked connections of a zone."""
    for family in ("ipv4", "ipv6"):
        await _delete(("-f", family, "-w", str(zone)))


async def forget_nat(address: str, namespace: str) -> None:
    """Drop the connections of a namespace that an address takes part in, translated or not."""
    for side in ("--orig-src", "--orig-dst", "--reply-src", "--reply-dst"):
        await _delete(("-f", "ipv4", side, address), namespace)


async def _delete(arguments: Sequence[str], namespace: str | None = None) -> None:
    await run_inside(namespace, ("conntrack", "-D", *arguments), ok_codes=(0, NOTHING_DELETED))
