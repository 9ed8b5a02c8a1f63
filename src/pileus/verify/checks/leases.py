"""What dnsmasq gives and gave against the addresses of ports."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.network.drivers.dhcp.dnsmasq.files import render_files, served_subnets
from pileus.services.network.rpc import DhcpNetwork
from pileus.verify.checks.parts import read
from pileus.verify.evidence.dhcp import DhcpEntry, host_entry
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference


def without_port(evidence: Evidence) -> Iterator[Difference]:
    """An address that dnsmasq gives, or gave, to a MAC which has it not: it keeps the address from its owner."""
    for network in read(evidence.desired).dhcp.networks:
        record = read(evidence.dhcp).get(network.id)
        if record is None:
            continue
        wanted = _wanted(network)
        for entry in sorted((record.hosts | record.leases) - wanted, key=lambda entry: entry.ip_address):
            kind = "leased" if entry in record.leases else "reserved"
            yield Difference(
                resources={"network": network.id, "mac": entry.mac_address, "ip": entry.ip_address},
                host=evidence.host, says=f"{evidence.host}: dnsmasq has {entry.ip_address} {kind} for its MAC",
                found="network: no port has that MAC and that address",
            )  # fmt: skip


def port_without_lease(evidence: Evidence) -> Iterator[Difference]:
    """A port whose address dnsmasq does not know: its guest asks in vain."""
    for network in read(evidence.desired).dhcp.networks:
        record = read(evidence.dhcp).get(network.id)
        if record is None or not served_subnets(network):
            continue
        known = {entry for entry in record.hosts}
        ports = {DhcpEntry(host.mac_address.lower(), ip.ip_address): host.port_id
                 for host in network.hosts for ip in host.fixed_ips}  # fmt: skip
        for entry in sorted(_wanted(network) - known, key=lambda entry: entry.ip_address):
            yield Difference(
                resources={"port": ports.get(entry, ""), "ip": entry.ip_address}, host=evidence.host,
                says=f"network: the port has {entry.ip_address} by DHCP",
                found=f"{evidence.host}: dnsmasq of network {network.id} does not know it",
            )  # fmt: skip


def _wanted(network: DhcpNetwork) -> frozenset[DhcpEntry]:
    """What the DHCP agent writes for dnsmasq."""
    if not served_subnets(network):
        return frozenset()
    text = render_files(network, frozenset(), frozenset()).hosts
    return frozenset(entry for line in text.splitlines() if (entry := host_entry(line)))
