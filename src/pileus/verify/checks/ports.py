"""Ports against what they say they belong to."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.network import states
from pileus.verify.checks.parts import read
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference

COMPUTE_OWNER = "compute:"


def without_server(evidence: Evidence) -> Iterator[Difference]:
    """A port that compute bound for a server which is gone. Anybody may write any device into an unbound port, so
    only bound ones count."""
    servers = read(evidence.compute).servers
    for port in read(evidence.network).ports.values():
        if not port.device_owner.startswith(COMPUTE_OWNER) or not port.host or port.device_id in servers:
            continue
        yield Difference(
            resources={"port": port.id, "server": port.device_id}, host=port.host,
            says=f"network: the port is bound to {port.host} for server {port.device_id}",
            found="compute: there is no such server",
        )  # fmt: skip


def floating_ip_without_port(evidence: Evidence) -> Iterator[Difference]:
    """A floating IP that leads to a port or an address that is not there."""
    network = read(evidence.network)
    held = {(address.port_id, address.ip_address) for address in network.addresses}
    for item in network.floating_ips.values():
        if item.port_id is None:
            continue
        if item.port_id not in network.ports:
            why = "there is no such port"
        elif (item.port_id, item.fixed_ip_address) not in held:
            why = f"the port has no address {item.fixed_ip_address}"
        else:
            continue
        yield Difference(
            resources={"floating_ip": item.id, "port": item.port_id},
            says=f"network: {item.floating_ip_address} leads to {item.fixed_ip_address} of the port",
            found=f"network: {why}",
        )  # fmt: skip


def router_port_without_router(evidence: Evidence) -> Iterator[Difference]:
    """A port that the cloud made for a router and that is plugged into none."""
    network = read(evidence.network)
    for port in network.ports.values():
        if port.trusted and port.device_owner in states.ROUTER_OWNERS and port.id not in network.router_ports:
            yield Difference(
                resources={"port": port.id}, host=port.host,
                says=f"network: the port is one of router {port.device_id}",
                found="network: it is plugged into no router",
            )  # fmt: skip


def dhcp_port_without_service(evidence: Evidence) -> Iterator[Difference]:
    """A port that the cloud made for a network's DHCP and that no DHCP uses."""
    network = read(evidence.network)
    in_use = set(network.dhcp_ports.values())
    for port in network.ports.values():
        if port.trusted and port.device_owner == states.OWNER_DHCP and port.id not in in_use:
            yield Difference(
                resources={"port": port.id}, host=port.host,
                says=f"network: the port is for DHCP of network {port.network_id}",
                found="network: the network's DHCP does not use it",
            )  # fmt: skip


def floating_port_without_floating_ip(evidence: Evidence) -> Iterator[Difference]:
    """A port that the cloud made for a floating IP which is gone: it keeps an external address."""
    network = read(evidence.network)
    in_use = {item.floating_port_id for item in network.floating_ips.values()}
    for port in network.ports.values():
        # The cloud's own belong to no project; a user may write this owner into a port of theirs.
        if port.device_owner == states.OWNER_FLOATING_IP and not port.project_id and port.id not in in_use:
            yield Difference(
                resources={"port": port.id}, says=f"network: the port holds floating IP {port.device_id}",
                found="network: there is no such floating IP",
            )  # fmt: skip
