"""Leases of ports that are gone: dnsmasq is told that they are over, so that it keeps nobody's address."""

from __future__ import annotations

import ipaddress
from collections import defaultdict

from pileus.kernel.host import dhcp_release
from pileus.kernel.host.dhcp_release import Lease
from pileus.services.network.rpc import DhcpNetwork

from .files import own_address, served_subnets


def left_over(leases: str, hosts: str) -> list[Lease]:
    """IPv4 leases (lines of dnsmasq's file) that its hosts file does not give to their MAC (any more)."""
    given = {(fields[0], fields[-1]) for line in hosts.splitlines() if (fields := line.split(","))}
    found = []
    for line in leases.splitlines():
        # "<expiry> <mac> <address> <name> <client id>"; IPv6 leases name no MAC and run out by themselves.
        fields = line.split()
        if len(fields) < 5 or ":" not in fields[1] or ":" in fields[2] or (fields[1], fields[2]) in given:
            continue
        found.append(Lease(fields[1], fields[2], "" if fields[4] == "*" else fields[4]))
    return found


async def release(network: DhcpNetwork, leases: list[Lease], *, link: str, namespace: str) -> None:
    """Release leases of a network's dnsmasq. Raises OSError."""
    by_server: defaultdict[str, list[Lease]] = defaultdict(list)
    for subnet in served_subnets(network):
        cidr, server = ipaddress.ip_network(subnet.cidr), own_address(network, subnet)
        if server:
            by_server[server] += [lease for lease in leases if ipaddress.ip_address(lease.ip_address) in cidr]
    for server, theirs in by_server.items():
        if theirs:
            await dhcp_release.release(theirs, server_ip=server, link=link, namespace=namespace)
