"""Devices of this host's kernel against ports and networks that are there for it."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.compute import states as server_states
from pileus.services.network import states
from pileus.services.network.drivers.l2.linuxbridge.carriers import Carrier, CarrierError, plan_carrier
from pileus.services.network.rpc import HostPort, bridge_name
from pileus.verify.checks.parts import read
from pileus.verify.evidence.kernel import LinkRecord
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference

UPLINK_PREFIXES = ("vln", "phy")
VXLAN_PREFIX = "vxlan-"
TAP_PREFIX = "tap"


def tap_without_port(evidence: Evidence) -> Iterator[Difference]:
    """A tap, or the outer end of a router's or DHCP's port, whose port is not bound here."""
    wanted = {port.device_name for port in read(evidence.desired).l2.ports}
    for link in _ours(evidence):
        if link.name.startswith(TAP_PREFIX) and link.name not in wanted:
            owner = f", made for server {link.server}" if link.server else ""
            yield _extra(evidence, link, "no port of that id is bound to this host", more=owner)


def port_without_tap(evidence: Evidence) -> Iterator[Difference]:
    """A port of a running server without its device: the guest is cut off. (Those of routers and DHCP are looked for
    in their namespaces.)"""
    servers = read(evidence.compute).servers
    for port in read(evidence.desired).l2.ports:
        server = servers.get(port.device_id)
        runs = server is not None and server.vm_state == server_states.ACTIVE and server.task_state is None
        if not runs or port.trusted or evidence.at_work(port.device_id):
            continue
        if port.device_name not in read(evidence.kernel).links:
            yield Difference(
                resources={"port": port.id, "server": port.device_id}, host=evidence.host,
                says=f"compute: the port's server is ACTIVE on {evidence.host}",
                found=f"{evidence.host}: there is no device {port.device_name}",
            )  # fmt: skip


def port_not_wired(evidence: Evidence) -> Iterator[Difference]:
    """A port that is said to work, and whose device is not in its network's bridge."""
    for port in _working(evidence):
        link, bridge = read(evidence.kernel).links.get(port.device_name), bridge_name(port.network_id)
        if link is not None and link.master != bridge and bridge in read(evidence.kernel).links:
            yield Difference(
                resources={"port": port.id}, host=evidence.host,
                says=f"network: the port is ACTIVE in network {port.network_id}",
                found=f"{evidence.host}: {link.name} is in {link.master or 'no bridge'}, not in {bridge}",
            )  # fmt: skip


def bridge_without_network(evidence: Evidence) -> Iterator[Difference]:
    """A bridge of a network that has no port here."""
    wanted = {bridge_name(network.id) for network in read(evidence.desired).l2.networks}
    for link in _ours(evidence):
        if link.kind == "bridge" and link.name not in wanted:
            yield _extra(evidence, link, "no network of that id has a port on this host")


def network_without_bridge(evidence: Evidence) -> Iterator[Difference]:
    """A network with ports that work here, and no bridge that carries it."""
    for carrier in _carriers(evidence):
        if carrier.bridge not in read(evidence.kernel).links:
            yield _lack(evidence, carrier, f"there is no bridge {carrier.bridge}")


def vxlan_without_network(evidence: Evidence) -> Iterator[Difference]:
    """A tunnel of a network that has no port here."""
    wanted = {f"{VXLAN_PREFIX}{network.segmentation_id}" for network in read(evidence.desired).l2.networks}
    for link in _ours(evidence):
        if link.name.startswith(VXLAN_PREFIX) and link.name not in wanted:
            yield _extra(evidence, link, "no network with that segment has a port on this host")


def network_without_vxlan(evidence: Evidence) -> Iterator[Difference]:
    """A tunnelled network with ports that work here, and no tunnel."""
    yield from _without_uplink(evidence, is_vxlan=True)


def uplink_without_network(evidence: Evidence) -> Iterator[Difference]:
    """A way into a physical network that no network here uses."""
    short = {network.id[:11] for network in read(evidence.desired).l2.networks}
    for link in _ours(evidence):
        if link.name.startswith(UPLINK_PREFIXES) and link.name[3:] not in short:
            yield _extra(evidence, link, "no network of that id has a port on this host")


def network_without_uplink(evidence: Evidence) -> Iterator[Difference]:
    """A network with ports that work here, and no way into its physical network."""
    yield from _without_uplink(evidence, is_vxlan=False)


def _without_uplink(evidence: Evidence, *, is_vxlan: bool) -> Iterator[Difference]:
    links = read(evidence.kernel).links
    for carrier in _carriers(evidence):
        if carrier.uplink is None or (carrier.uplink_kind == "vxlan") is not is_vxlan:
            continue
        link = links.get(carrier.uplink)
        if link is None:
            yield _lack(evidence, carrier, f"there is no device {carrier.uplink}")
        elif link.master != carrier.bridge and carrier.bridge in links:
            yield _lack(evidence, carrier, f"{carrier.uplink} is in {link.master or 'no bridge'}, not {carrier.bridge}")


def _ours(evidence: Evidence) -> Iterator[LinkRecord]:
    return (link for link in read(evidence.kernel).links.values() if link.is_ours or link.server)


def _working(evidence: Evidence) -> Iterator[HostPort]:
    """Ports of this host that users see as ACTIVE."""
    ports = read(evidence.network).ports
    for port in read(evidence.desired).l2.ports:
        row = ports.get(port.id)
        if row is not None and row.status == states.ACTIVE and port.admin_state_up:
            yield port


def _carriers(evidence: Evidence) -> Iterator[Carrier]:
    """The devices of the networks that have working ports here. One that cannot be carried at all is left to its
    ports, which are not ACTIVE."""
    in_use = {port.network_id for port in _working(evidence)}
    links = read(evidence.kernel).links
    for network in read(evidence.desired).l2.networks:
        if network.id in in_use:
            try:
                yield plan_carrier(network, evidence.physical_networks, links, ())  # type: ignore[arg-type]
            except CarrierError:
                continue


def _extra(evidence: Evidence, link: LinkRecord, why: str, *, more: str = "") -> Difference:
    return Difference(
        resources={"device": link.name}, host=evidence.host,
        says=f"{evidence.host}: there is a {link.kind} device {link.name}{more}", found=f"network: {why}",
        facts={"server": link.server or ""},
    )  # fmt: skip


def _lack(evidence: Evidence, carrier: Carrier, why: str) -> Difference:
    return Difference(
        resources={"network": carrier.network.id}, host=evidence.host,
        says=f"network: the network has ports that work on {evidence.host}", found=f"{evidence.host}: {why}",
    )  # fmt: skip
