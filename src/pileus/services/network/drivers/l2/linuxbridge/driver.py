"""The L2 driver: bridges, uplinks and taps of one host.

Order matters for safety: a tap loses its bridge before its rules go, and gets its rules before its bridge. Order
matters for calm: what is right already is not touched, so a restart of the agent drops no packet.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pileus.kernel.host import conntrack, links
from pileus.kernel.host.command import CommandError
from pileus.kernel.host.link_events import LinkEvents
from pileus.kernel.host.links import FdbRecord, Link
from pileus.kernel.host.sysctl import set_sysctls
from pileus.services.network.drivers.ownership import DEVICE_NAME, Ownership, noted
from pileus.services.network.rpc import VXLAN_PORT, HostNetwork, HostNetworks, HostPort, PortReport, bridge_name

from .carriers import Carrier, CarrierError, bridge_lines, fdb_lines, pick_zones, plan_carrier, uplink_lines, uplink_of
from .firewall import Firewall
from .port_security import bad_ports

MIN_MTU, MAX_MTU = 68, 65535
UPLINK_KINDS = ("vxlan", "vlan", "veth")
UPLINK_PREFIXES = ("vxlan-", "vln", "phy")
log = logging.getLogger(__name__)


class LinuxBridgeSettings(Struct, frozen=True, kw_only=True):
    """`physical_networks`: name in the API -> device or bridge. `tunnel_ip`: this host's VXLAN end, or None."""

    cloud: str = "pileus"
    physical_networks: dict[str, str] = {}
    tunnel_ip: str | None = None
    vxlan_port: int = VXLAN_PORT


class LinuxBridgeDriver:
    """See `L2Driver`."""

    def __init__(self, settings: LinuxBridgeSettings) -> None:
        if settings.tunnel_ip is not None:
            ipaddress.ip_address(settings.tunnel_ip)
        self._settings = settings
        self._ownership = Ownership(settings.cloud)
        self._firewall = Firewall(self._ownership.tag)
        self._events: LinkEvents | None = None

    async def start(self, changed: Callable[[], None], last: HostNetworks | None) -> None:
        if last is not None:
            self._firewall.adopt(last.ports)
        self._events = LinkEvents(changed)
        self._events.start()

    async def close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

    def configurations(self) -> dict[str, Any]:
        return {
            "bridge_mappings": dict(self._settings.physical_networks),
            "tunneling_ip": self._settings.tunnel_ip or "",
            "tunnel_types": ["vxlan"] if self._settings.tunnel_ip else [],
        }

    async def apply(self, desired: HostNetworks) -> tuple[PortReport, ...]:
        desired = _with_networks_down(desired)
        found = await links.list_links()
        problems: dict[str, str] = {}  # network id -> why it cannot be carried
        carriers = await self._plan(desired.networks, found, problems)
        zones = pick_zones(carriers, found)
        carriers = await self._build(carriers, zones, found, problems)
        refused = _refused(desired.ports)
        # Ports of a network in trouble keep what they have, with rules in force; they are only not newly attached.
        ports = tuple(port for port in desired.ports if port.id not in refused)
        by_network = {carrier.network.id: carrier for carrier in carriers}

        found = await links.list_links()
        found = await self._detach_unwanted(ports, found)
        await self._load_rules(ports, carriers, found)
        attached = await self._attach(ports, by_network, found)
        await self._remove_stale(desired.networks, found)
        reasons = {port.id: problems[port.network_id] for port in ports if port.network_id in problems}
        return tuple(_report(port, (reasons | refused).get(port.id), attached) for port in desired.ports)

    async def _plan(
        self, networks: Sequence[HostNetwork], found: Mapping[str, Link], problems: dict[str, str]
    ) -> tuple[Carrier, ...]:
        addresses = await links.list_addresses()
        carriers: list[Carrier] = []
        uplinks: set[str] = set()
        for network in networks:
            try:
                if not MIN_MTU <= network.mtu <= MAX_MTU:
                    raise CarrierError(f"mtu {network.mtu}")
                carrier = plan_carrier(network, self._settings.physical_networks, found, addresses)
                if carrier.uplink is not None and carrier.uplink in uplinks:
                    raise CarrierError(f"{carrier.uplink} carries another network already")
                uplinks.add(carrier.uplink or "")
                carriers.append(carrier)
            except CarrierError as error:
                problems[network.id] = str(error)
        return tuple(carriers)

    async def _build(
        self,
        carriers: tuple[Carrier, ...],
        zones: Mapping[str, int],
        found: Mapping[str, Link],
        problems: dict[str, str],
    ) -> tuple[Carrier, ...]:
        built: list[Carrier] = []
        fdb = await links.list_fdb()
        for carrier in carriers:
            try:
                await self._build_one(carrier, zones[carrier.bridge], found, fdb)
                built.append(carrier)
            except CarrierError as error:
                problems[carrier.network.id] = str(error)
            except CommandError as error:
                problems[carrier.network.id] = _plain_reason(carrier, error)
        for network_id, reason in problems.items():
            log.warning("network %s: %s", network_id, reason)
        await set_sysctls(_no_ipv6(_own_devices(built)), missing_ok=True)
        return tuple(built)

    async def _build_one(
        self,
        carrier: Carrier,
        zone: int,
        found: Mapping[str, Link],
        fdb: Mapping[str, frozenset[FdbRecord]],
    ) -> None:
        settings = self._settings
        lines = bridge_lines(carrier, zone, found, self._ownership)
        uplink = uplink_lines(carrier, found, self._ownership, settings.tunnel_ip, settings.vxlan_port)
        bridge = found.get(carrier.bridge)
        if bridge is not None and bridge.mtu != carrier.network.mtu:
            uplink.append(f"link set dev {carrier.bridge} mtu {carrier.network.mtu}")
        await links.change_links([*lines, *uplink])
        if carrier.uplink_kind == "vxlan" and carrier.uplink is not None:
            is_new = any(line.startswith(f"link add name {carrier.uplink} ") for line in uplink)
            present = frozenset() if is_new else fdb.get(carrier.uplink, frozenset())
            await links.change_fdb(fdb_lines(carrier, present))

    async def _detach_unwanted(self, ports: Sequence[HostPort], found: Mapping[str, Link]) -> Mapping[str, Link]:
        wanted = {port.device_name: bridge_name(port.network_id) for port in ports if port.admin_state_up}
        lines: list[str] = []
        for link in found.values():
            master = found.get(link.master or "")
            if master is None or not self._ownership.owns(master.alias) or not link.name.startswith("tap"):
                continue
            if wanted.get(link.name) != master.name:
                lines.append(f"link set dev {link.name} nomaster")
        for line in lines:
            await _try_links([line])
        return await links.list_links() if lines else found

    async def _load_rules(
        self, ports: Sequence[HostPort], carriers: Sequence[Carrier], found: Mapping[str, Link]
    ) -> None:
        live = [port for port in ports if port.admin_state_up]
        zones = {
            link.name: zone
            for link in found.values()
            if self._ownership.owns(link.alias) and (zone := noted(link.alias, "zone")) is not None
        }
        devices = {port.device_name for port in live}
        devices |= {carrier.uplink for carrier in carriers if carrier.uplink is not None}
        devices |= {link.name for link in found.values() if link.master in zones}
        of_network = {
            port.network_id: zones[bridge]
            for port in [*live, *self._firewall.known_ports]
            if (bridge := bridge_name(port.network_id)) in zones
        }
        await self._firewall.apply(live, devices, zones, of_network)

    async def _attach(
        self, ports: Sequence[HostPort], bridge_of: Mapping[str, Carrier], found: Mapping[str, Link]
    ) -> dict[str, bool]:
        attached: dict[str, bool] = {}
        present = [port for port in ports if port.device_name in found and port.network_id in bridge_of]
        await set_sysctls(_no_ipv6(port.device_name for port in present), missing_ok=True)
        for port in present:
            carrier, link = bridge_of[port.network_id], found[port.device_name]
            if not port.admin_state_up:
                if link.is_up:
                    await _try_links([f"link set dev {link.name} down"])
                continue
            attached[port.id] = await _try_links(_tap_lines(link, carrier))
        return attached

    async def _remove_stale(self, networks: Sequence[HostNetwork], found: Mapping[str, Link]) -> None:
        """Remove bridges and uplinks of ours that no wanted network uses (also not one that failed just now)."""
        bridges = {bridge_name(network.id) for network in networks}
        uplinks = {uplink_of(network) for network in networks}
        for link in found.values():
            if not self._ownership.owns(link.alias):
                continue
            if link.kind == "bridge" and link.name not in bridges:
                await self._remove(link, noted(link.alias, "zone"))
            elif link.name.startswith(UPLINK_PREFIXES) and link.kind in UPLINK_KINDS and link.name not in uplinks:
                await self._remove(link, None)

    async def _remove(self, link: Link, zone: int | None) -> None:
        """One that cannot be removed now is found again by the next round."""
        try:
            await links.delete_link(link.name)
            if zone is not None:
                await conntrack.forget_zone(zone)
        except CommandError as error:
            log.warning("%s is not wanted and not removed: %s", link.name, error)


def _with_networks_down(desired: HostNetworks) -> HostNetworks:
    """A network that is administratively down has its ports down."""
    down = {network.id for network in desired.networks if not network.admin_state_up}
    if not down:
        return desired
    ports = (replace(port, admin_state_up=False) if port.network_id in down else port for port in desired.ports)
    return replace(desired, ports=tuple(ports))


def _refused(ports: Sequence[HostPort]) -> dict[str, str]:
    reasons = dict(bad_ports(ports))
    for port in ports:
        if not DEVICE_NAME.fullmatch(port.device_name):
            reasons[port.id] = f"{port.device_name!r} is not a device name"
    return reasons


def _tap_lines(link: Link, carrier: Carrier) -> list[str]:
    lines: list[str] = []
    if link.mtu != carrier.network.mtu:
        lines.append(f"link set dev {link.name} mtu {carrier.network.mtu}")
    if link.master != carrier.bridge:
        lines.append(f"link set dev {link.name} master {carrier.bridge}")
    if not link.is_up:
        lines.append(f"link set dev {link.name} up")
    return lines


async def _try_links(lines: list[str]) -> bool:
    """Change a tap; False if it vanished meanwhile (its owner removed it, which is fine)."""
    try:
        await links.change_links(lines)
    except CommandError as error:
        log.info("tap not changed: %s", error)
        return False
    return True


def _own_devices(carriers: Sequence[Carrier]) -> list[str]:
    names = [carrier.bridge for carrier in carriers]
    for carrier in carriers:
        if carrier.uplink_kind in UPLINK_KINDS:
            names += [name for name in (carrier.uplink, carrier.far_end) if name]
    return names


def _no_ipv6(names: Any) -> dict[str, str]:
    """The host itself must not be a neighbour in tenant networks: no link-local address on these devices."""
    return {f"net/ipv6/conf/{name}/disable_ipv6": "1" for name in names}


def _plain_reason(carrier: Carrier, error: CommandError) -> str:
    if "Unknown device type" in error.stderr:
        return f"this kernel has no {carrier.uplink_kind} devices, which this network needs"
    return str(error)


def _report(port: HostPort, reason: str | None, attached: Mapping[str, bool]) -> PortReport:
    if reason is not None:
        return PortReport(port_id=port.id, status="ERROR", reason=reason)
    if not port.admin_state_up:
        return PortReport(port_id=port.id, status="DOWN", reason="administratively down")
    if attached.get(port.id):
        return PortReport(port_id=port.id, status="ACTIVE")
    return PortReport(port_id=port.id, status="DOWN", reason=f"device {port.device_name} is not on the host")
