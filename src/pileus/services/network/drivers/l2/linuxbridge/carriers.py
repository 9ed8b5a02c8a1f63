"""What devices a network needs on a host, as data. Pure: compares wanted with found, returns iproute2 lines."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from pileus.kernel.host.links import Address, FdbRecord, Link
from pileus.services.network.drivers.ownership import DEVICE_NAME, Ownership, noted
from pileus.services.network.rpc import DEVICE_ID_CHARS, HostNetwork, bridge_name

FLOOD_MAC = "00:00:00:00:00:00"
LAST_ZONE = 65535  # connection tracking zones are 16 bits; 0 is the default zone, not ours
MAX_VNI = 2**24 - 1
MAX_VLAN = 4094
BRIDGE_OPTIONS = ("stp_state", "forward_delay", "mcast_snooping")
BRIDGE_OPTIONS_OFF = " ".join(f"{option} 0" for option in BRIDGE_OPTIONS)


class CarrierError(Exception):
    """This network cannot be carried by this host; the text says why."""


class Carrier(Struct, frozen=True, kw_only=True):
    """The devices of one network: its bridge, and what connects the bridge to other hosts (if anything)."""

    network: HostNetwork
    bridge: str
    uplink: str | None = None  # the device enslaved to the bridge
    uplink_kind: str = ""  # "vxlan", "vlan", "veth", or "physical"
    physical: str | None = None  # the device that the uplink stands on
    far_end: str | None = None  # veth only: the end in the physical network's bridge


def uplink_of(network: HostNetwork) -> str | None:
    """The name of the device we make to connect a network to other hosts; None where none is made."""
    short = network.id[:DEVICE_ID_CHARS]
    return {"vxlan": f"vxlan-{network.segmentation_id}", "vlan": f"vln{short}", "flat": f"phy{short}"}.get(
        network.network_type
    )


def plan_carrier(
    network: HostNetwork,
    physical_networks: Mapping[str, str],
    links: Mapping[str, Link],
    addresses: tuple[Address, ...],
) -> Carrier:
    """Decide the devices of a network. Raises CarrierError."""
    short = network.id[:DEVICE_ID_CHARS]
    bridge = bridge_name(network.id)
    if network.network_type == "local":
        return Carrier(network=network, bridge=bridge)
    if network.network_type == "vxlan":
        _segment(network, MAX_VNI)
        return Carrier(network=network, bridge=bridge, uplink=uplink_of(network), uplink_kind="vxlan")
    physical = physical_networks.get(network.physical_network or "")
    if physical is None:
        raise CarrierError(f"physical network {network.physical_network!r} is not configured on this host")
    if not DEVICE_NAME.fullmatch(physical):
        raise CarrierError(f"{physical!r} is not a device name")
    device = links.get(physical)
    if device is None:
        raise CarrierError(f"device {physical} of physical network {network.physical_network} does not exist")
    if network.network_type == "vlan":
        _segment(network, MAX_VLAN)
        return Carrier(network=network, bridge=bridge, uplink=uplink_of(network), uplink_kind="vlan", physical=physical)
    if device.kind == "bridge":
        # A veth pair, so that the host's own traffic into the network passes the rules of our bridge too.
        return Carrier(
            network=network, bridge=bridge, uplink=uplink_of(network), uplink_kind="veth", physical=physical,
            far_end=f"phb{short}",
        )  # fmt: skip
    if any(address.link == physical and address.scope == "global" for address in addresses):
        raise CarrierError(
            f"device {physical} has IP addresses; put it into a bridge that carries them, and map that bridge"
        )
    if device.master not in (None, bridge):
        raise CarrierError(f"device {physical} belongs to {device.master} already")
    return Carrier(network=network, bridge=bridge, uplink=physical, uplink_kind="physical", physical=physical)


def _segment(network: HostNetwork, highest: int) -> int:
    number = network.segmentation_id
    if number is None or not 1 <= number <= highest:
        raise CarrierError(f"{network.network_type} network with segmentation id {number}")
    return number


def pick_zones(carriers: tuple[Carrier, ...], links: Mapping[str, Link]) -> dict[str, int]:
    """Bridge name -> connection tracking zone. A bridge keeps the zone noted in its alias for its whole life."""
    used = {zone for link in links.values() if (zone := noted(link.alias, "zone")) is not None}
    zones: dict[str, int] = {}
    for carrier in carriers:
        link = links.get(carrier.bridge)
        zone = noted(link.alias, "zone") if link is not None else None
        if zone is None:
            zone = next(number for number in range(1, LAST_ZONE + 1) if number not in used)
            used.add(zone)
        zones[carrier.bridge] = zone
    return zones


def bridge_lines(carrier: Carrier, zone: int, links: Mapping[str, Link], ownership: Ownership) -> list[str]:
    """What is missing on the bridge. Raises CarrierError if a foreign device has the name."""
    name, mtu = carrier.bridge, carrier.network.mtu
    link = links.get(name)
    lines: list[str] = []
    if link is None:
        lines.append(f"link add name {name} mtu {mtu} type bridge {BRIDGE_OPTIONS_OFF}")
        lines.append(f"link set dev {name} addrgenmode none")
    else:
        if link.kind != "bridge" or (link.alias and not ownership.owns(link.alias)):
            raise CarrierError(f"a foreign device named {name} is in the way")
        if any(link.info.get(option, 0) != 0 for option in BRIDGE_OPTIONS):
            # First of all the protocol: while it is on, the kernel refuses a delay of 0.
            lines += [f"link set dev {name} type bridge {option} 0" for option in BRIDGE_OPTIONS]
    alias = ownership.alias_with(zone=zone)
    if link is None or link.alias != alias:
        lines.append(f'link set dev {name} alias "{alias}"')
    if link is None or not link.is_up:
        lines.append(f"link set dev {name} up")
    return lines


def uplink_lines(
    carrier: Carrier,
    links: Mapping[str, Link],
    ownership: Ownership,
    tunnel_ip: str | None,
    vxlan_port: int,
) -> list[str]:
    """What is missing on the uplink. Raises CarrierError."""
    name = carrier.uplink
    if name is None:
        return []
    link = links.get(name)
    lines: list[str] = []
    if carrier.uplink_kind != "physical":
        is_right = link is not None and _is_right(carrier, link, links, tunnel_ip, vxlan_port)
        # One without any mark may be ours (its mark was wiped off) only if it is exactly what we would make.
        is_like_ours = link is not None and is_right and not link.alias and link.master in (None, carrier.bridge)
        if link is not None and not ownership.owns(link.alias) and not is_like_ours:
            raise CarrierError(f"a foreign device named {name} is in the way")
        if link is not None and not is_right:
            lines.append(f"link delete dev {name}")
            link = None
        if link is None:
            lines.append(_creation(carrier, tunnel_ip, vxlan_port))
            lines += [f"link set dev {end} addrgenmode none" for end in (name, carrier.far_end) if end]
        if link is None or link.alias != ownership.alias:
            lines.append(f'link set dev {name} alias "{ownership.alias}"')
        if link is None or link.mtu != carrier.network.mtu:
            lines.append(f"link set dev {name} mtu {carrier.network.mtu}")
    if link is None or link.master != carrier.bridge:
        lines.append(f"link set dev {name} master {carrier.bridge}")
    if link is None or not link.is_up:
        lines.append(f"link set dev {name} up")
    if carrier.far_end is not None:
        lines += _far_end_lines(carrier, links if link is not None else {}, ownership)
    return lines


def _far_end_lines(carrier: Carrier, links: Mapping[str, Link], ownership: Ownership) -> list[str]:
    end = links.get(carrier.far_end or "")
    lines: list[str] = []
    if end is None or end.alias != ownership.alias:
        lines.append(f'link set dev {carrier.far_end} alias "{ownership.alias}"')
    if end is None or end.mtu != carrier.network.mtu:
        lines.append(f"link set dev {carrier.far_end} mtu {carrier.network.mtu}")
    if end is None or end.master != carrier.physical:
        lines.append(f"link set dev {carrier.far_end} master {carrier.physical}")
    if end is None or not end.is_up:
        lines.append(f"link set dev {carrier.far_end} up")
    return lines


def _is_right(
    carrier: Carrier, link: Link, links: Mapping[str, Link], tunnel_ip: str | None, vxlan_port: int
) -> bool:
    if link.kind != carrier.uplink_kind:
        return False
    if carrier.uplink_kind == "vxlan":
        found = (link.info.get("id"), link.info.get("local") or link.info.get("local6"), link.info.get("port"))
        wanted = (carrier.network.segmentation_id, tunnel_ip, vxlan_port)
        return found == wanted and link.info.get("learning", True) is True
    if carrier.uplink_kind == "vlan":
        return link.info.get("id") == carrier.network.segmentation_id and link.parent == carrier.physical
    return carrier.far_end in links


def _creation(carrier: Carrier, tunnel_ip: str | None, vxlan_port: int) -> str:
    name, segment = carrier.uplink, carrier.network.segmentation_id
    if carrier.uplink_kind == "vxlan":
        if tunnel_ip is None:
            raise CarrierError("this host has no tunnel address, so it cannot carry vxlan networks")
        return f"link add name {name} type vxlan id {segment} dstport {vxlan_port} local {tunnel_ip} learning"
    if carrier.uplink_kind == "vlan":
        return f"link add link {carrier.physical} name {name} type vlan id {segment}"
    return f"link add name {name} type veth peer name {carrier.far_end}"


def fdb_lines(carrier: Carrier, found: frozenset[FdbRecord]) -> list[str]:
    """What to change in the forwarding entries of a vxlan device: one flood entry per peer, and the known MACs."""
    network, name = carrier.network, carrier.uplink
    wanted = {FdbRecord(FLOOD_MAC, peer) for peer in network.peers}
    wanted |= {FdbRecord(entry.mac_address, entry.tunnel_ip) for entry in network.fdb}
    gone = sorted(found - wanted, key=lambda record: (record.mac_address, record.destination))
    new = sorted(wanted - found, key=lambda record: (record.mac_address, record.destination))
    lines = [f"fdb delete {record.mac_address} dev {name} dst {record.destination}" for record in gone]
    for record in new:
        # Only the all-zero MAC may have several destinations; for others, the last word wins.
        verb = "append" if record.mac_address == FLOOD_MAC else "replace"
        lines.append(f"fdb {verb} {record.mac_address} dev {name} dst {record.destination} self permanent")
    return lines
