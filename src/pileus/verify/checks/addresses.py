"""What must be there once only: addresses, MACs, segments."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from pileus.verify.checks.parts import read
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference


def duplicate_ip(evidence: Evidence) -> Iterator[Difference]:
    """One address at two ports of a network, or two floating IPs."""
    network = read(evidence.network)
    held: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for address in network.addresses:
        port = network.ports.get(address.port_id)
        if port is not None:
            held[port.network_id, str(ip_address(address.ip_address))].add(f"port {port.id}")
    floating: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for item in network.floating_ips.values():
        floating[item.floating_network_id, item.floating_ip_address].add(f"floating IP {item.id}")
    for groups in (held, floating):
        for (network_id, ip), holders in groups.items():
            if len(holders) > 1:
                yield _twice({"network": network_id, "ip": ip}, f"address {ip}", holders)


def duplicate_mac(evidence: Evidence) -> Iterator[Difference]:
    """One MAC at two ports of a network."""
    held: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for port in read(evidence.network).ports.values():
        held[port.network_id, port.mac_address.lower()].add(f"port {port.id}")
    for (network_id, mac), holders in held.items():
        if len(holders) > 1:
            yield _twice({"network": network_id, "mac": mac}, f"MAC {mac}", holders)


def duplicate_segment(evidence: Evidence) -> Iterator[Difference]:
    """Two networks on one segment: their guests meet."""
    held: defaultdict[tuple[str, str, int], set[str]] = defaultdict(set)
    for network in read(evidence.network).networks.values():
        if network.network_type != "local":
            held[network.segment].add(f"network {network.id}")
    for segment, holders in held.items():
        if len(holders) > 1:
            yield _twice({"segment": _words(segment)}, _words(segment), holders)


def unclaimed_segment(evidence: Evidence) -> Iterator[Difference]:
    """A network that uses a segment which is not reserved for it: the next network may get the same one. (Where two
    use it already, that is the finding.)"""
    network = read(evidence.network)
    users = Counter(item.segment for item in network.networks.values())
    for item in network.networks.values():
        holder = network.segments.get(item.segment)
        if item.network_type != "local" and holder != item.id and users[item.segment] == 1:
            yield Difference(
                resources={"network": item.id}, says=f"network: it uses {_words(item.segment)}",
                found=f"network: the segment is reserved for {holder or 'nobody'}",
                facts={"segment": list(item.segment), "holder": holder or ""},
            )  # fmt: skip


def _words(segment: tuple[str, str, int]) -> str:
    kind, physical, number = segment
    return " ".join(str(part) for part in (kind, physical, number if kind != "flat" else "") if part != "")


def _twice(resources: dict[str, str], what: str, holders: Iterable[str]) -> Difference:
    first, *others = sorted(holders)
    facts: dict[str, Any] = {"holders": [first, *others]}
    return Difference(
        resources=resources, says=f"network: {first} has {what}", found=f"network: {', '.join(others)} has it too",
        facts=facts,
    )  # fmt: skip
