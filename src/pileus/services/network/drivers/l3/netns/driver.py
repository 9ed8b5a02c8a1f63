"""The L3 driver: one namespace per router."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from pileus.kernel.host import conntrack, ethernet, links
from pileus.kernel.host.command import CommandError
from pileus.kernel.host.iptables import Family, RuleKeeper, save_rules
from pileus.kernel.host.links import Link
from pileus.kernel.host.sysctl import set_sysctls
from pileus.services.network.drivers.namespace_ports import (
    Change,
    NamespacePort,
    ensure_namespace,
    ensure_ports,
    remove_namespace,
    unwanted,
)
from pileus.services.network.drivers.ownership import Ownership
from pileus.services.network.drivers.recent import DETAIL_INTERVAL_S, RecentlyRight
from pileus.services.network.drivers.side_by_side import Failed, SideBySide
from pileus.services.network.rpc import HostRouter, HostRouters, RouterReport

from . import nat
from .advertiser import RouterAdvertiser

NAMESPACE_PREFIX = "qrouter-"
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    # Answer ARP only for the addresses of the very interface: networks of a router stay apart at layer 2.
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    # The way back may differ from the way in (extra routes, guests in two networks); who may send what is checked at
    # the guests' taps. The kernel uses the higher one of "all" and the device's.
    "net/ipv4/conf/all/rp_filter": "0",
}
log = logging.getLogger(__name__)


class NetnsL3Settings(Struct, frozen=True, kw_only=True):
    """`metadata_port`: where the metadata listener in a router namespace waits; None: no metadata there."""

    cloud: str = "pileus"
    metadata_port: int | None = 9697
    detail_interval_s: float = DETAIL_INTERVAL_S


def namespace_of(router_id: str) -> str:
    """The namespace of a router."""
    return f"{NAMESPACE_PREFIX}{router_id}"


class NetnsL3Driver:
    """See `L3Driver`."""

    def __init__(self, settings: NetnsL3Settings) -> None:
        self._settings = settings
        self._ownership = Ownership(settings.cloud)
        self._rules = RuleKeeper()
        self._recent: RecentlyRight[HostRouter] = RecentlyRight(settings.detail_interval_s)
        self._side_by_side: SideBySide[HostRouter | None, str] = SideBySide(self._look_after)
        self._outside: Mapping[str, Link] = {}
        self._made_before: frozenset[str] = frozenset()
        self._remarks: dict[str, str] = {}
        self._advertiser = RouterAdvertiser()
        self._unannounced: dict[str, list[Change]] = {}
        self._known: set[str] = set()

    async def start(self, changed: Callable[[], None], last: HostRouters | None) -> None:
        self._made_before = frozenset(namespace_of(router.id) for router in last.routers) if last else frozenset()
        self._side_by_side.start(changed)

    async def close(self) -> None:
        await self._side_by_side.close()
        await self._advertiser.close()

    def configurations(self) -> dict[str, Any]:
        return {"agent_mode": "legacy", "handle_internal_only_routers": True, "interface_driver": "veth"}

    async def apply(self, desired: HostRouters) -> tuple[RouterReport, ...]:
        running = {namespace_of(router.id): router for router in desired.routers if router.admin_state_up}
        await self._advertiser.keep({name: router for name, router in running.items() if name in self._known})
        self._forget(set(running))
        self._outside = await links.list_links()
        items: dict[str, HostRouter | None] = dict.fromkeys(unwanted(NAMESPACE_PREFIX, running))
        outcomes = await self._side_by_side.run(items | running)
        working = {name for name, outcome in outcomes.items() if isinstance(outcome, str)} | self._side_by_side.in_hand
        await self._advertiser.keep(
            {name: router for name, router in running.items() if name in working and name in self._known}
        )
        down = [router for router in desired.routers if not router.admin_state_up]
        return (
            *(RouterReport(router_id=router.id, status="ACTIVE", reason="administratively down") for router in down),
            *(_report(router, outcomes[name]) for name, router in running.items() if name in outcomes),
        )

    def _forget(self, wanted: set[str]) -> None:
        self._rules.keep(wanted)
        self._recent.keep(wanted)
        self._known &= wanted
        self._unannounced = {name: changes for name, changes in self._unannounced.items() if name in wanted}

    async def _look_after(self, name: str, router: HostRouter | None) -> str:
        """Build one router, or remove its namespace (None). Returns a remark for people ("" mostly)."""
        if router is None:
            await remove_namespace(name, self._ownership, is_known=name in self._made_before)
            return ""
        remark = self._remarks.get(name, "")
        if not await self._is_right(router, name):
            self._recent.forget(name)
            remark = self._remarks[name] = await self._build(router)
            self._recent.note(name, router)
        await self._announce(name)
        return remark

    async def _build(self, router: HostRouter) -> str:
        """Returns a remark for people."""
        name = namespace_of(router.id)
        await ensure_namespace(name, self._ownership)
        await set_sysctls(SYSCTLS, name)
        ports = ports_of(router)
        gateway = next((port for port in ports if port.prefix == "qg-"), None)
        new = await ensure_ports(name, ports, self._ownership)
        await set_sysctls(_device_sysctls(ports), name, missing_ok=True)
        remark = await self._route(router, gateway, name)
        await self._translate(router, name)
        self._note_announcements(name, ports, new)
        return remark

    async def _is_right(self, router: HostRouter, name: str) -> bool:
        outer = [port.outer for port in ports_of(router)]
        if not self._recent.is_right(name, router, outer, self._outside):
            return False
        return await self._rules.is_in_force(self._texts(router), name)

    def _texts(self, router: HostRouter) -> dict[Family, str]:
        device = next((port.inner for port in ports_of(router) if port.prefix == "qg-"), None)
        port = self._settings.metadata_port
        return {"ipv4": nat.render_ipv4(router, device, port), "ipv6": nat.render_ipv6(router, device, port)}

    async def _route(self, router: HostRouter, gateway: NamespacePort | None, name: str) -> str:
        wanted = set(_wanted_routes(router, gateway))
        found = await links.list_routes(name)  # the namespace is ours alone: what else is there has no business
        right = [route for route in found if (route.destination, route.via) in wanted and not route.kind]
        await links.change_links([f"route delete {route.words}" for route in found if route not in right], name)
        present = {(route.destination, route.via) for route in right}
        refused: list[str] = []
        for destination, via in sorted(wanted - present):
            try:
                await links.change_links([f"route replace {destination} via {via} proto static"], name)
            except CommandError as error:
                log.warning("router %s: route %s via %s: %s", router.id, destination, via, error.stderr)
                refused.append(f"{destination} via {via}")
        return f"routes not usable now: {', '.join(refused)}" if refused else ""

    async def _translate(self, router: HostRouter, name: str) -> None:
        texts = self._texts(router)
        if await self._rules.is_in_force(texts, name):
            return
        before = nat.translations(await save_rules("ipv4", name))
        await self._rules.load(texts, name)
        after = {(floating.floating_ip_address, floating.fixed_ip_address) for floating in router.floating_ips}
        # Flows keep the translation they began with: cut those of addresses that got another one.
        for address in sorted({address for pair in before ^ after for address in pair}):
            await conntrack.forget_nat(address, name)

    def _note_announcements(self, name: str, ports: tuple[NamespacePort, ...], new: list[Change]) -> None:
        if name not in self._known:  # after our restart nobody knows what was announced: say it all once more
            new = [Change(port, cidr.split("/")[0]) for port in ports for cidr in port.addresses]
        self._known.add(name)
        pending = self._unannounced.setdefault(name, [])
        pending += [change for change in new if ":" not in change.ip_address and change not in pending]

    async def _announce(self, name: str) -> None:
        """Gratuitous ARP for new addresses, as soon as the L2 agent connected the port."""
        if not self._unannounced.get(name):
            return
        outside = await links.list_links()  # a port made just now may be connected already
        waiting: list[Change] = []
        for change in self._unannounced.get(name, []):
            outer = outside.get(change.port.outer)
            if outer is None or outer.master is None or not outer.is_up:
                waiting.append(change)
                continue
            await ethernet.announce(change.port.inner, change.port.mac_address, [change.ip_address], name)
        self._unannounced[name] = waiting


def ports_of(router: HostRouter) -> tuple[NamespacePort, ...]:
    """The router's ports; the gateway port also carries the floating addresses."""
    ports = [
        NamespacePort(
            port_id=interface.port_id,
            prefix="qr-",
            mac_address=interface.mac_address,
            mtu=interface.mtu,
            addresses=tuple(f"{ip.ip_address}/{ip.prefix_length}" for ip in interface.fixed_ips),
        )
        for interface in router.interfaces
    ]
    gateway = router.gateway
    if gateway is not None:
        own = [f"{ip.ip_address}/{ip.prefix_length}" for ip in gateway.fixed_ips]
        floating = [f"{floating.floating_ip_address}/32" for floating in router.floating_ips]
        ports.append(
            NamespacePort(
                port_id=gateway.port_id,
                prefix="qg-",
                mac_address=gateway.mac_address,
                mtu=gateway.mtu,
                addresses=tuple([*own, *floating]),
            )
        )
    return tuple(ports)


def _wanted_routes(router: HostRouter, gateway: NamespacePort | None) -> list[tuple[str, str]]:
    routes = [(str(ipaddress.ip_network(route.destination)), route.nexthop) for route in router.routes]
    if router.gateway is not None and gateway is not None:
        for next_hop in router.gateway.next_hops:
            routes.append(("::/0" if ":" in next_hop else "0.0.0.0/0", next_hop))
    return routes


def _device_sysctls(ports: tuple[NamespacePort, ...]) -> dict[str, str]:
    """What the kernel also keeps per device."""
    wanted: dict[str, str] = {}
    for port in ports:
        wanted[f"net/ipv4/conf/{port.inner}/forwarding"] = "1"
        wanted[f"net/ipv6/conf/{port.inner}/forwarding"] = "1"
        wanted[f"net/ipv4/conf/{port.inner}/rp_filter"] = "0"
    return wanted


def _report(router: HostRouter, outcome: str | Failed) -> RouterReport:
    if isinstance(outcome, Failed):
        return RouterReport(router_id=router.id, status="ERROR", reason=outcome.reason)
    working = tuple(floating.id for floating in router.floating_ips) if router.gateway else ()
    return RouterReport(router_id=router.id, status="ACTIVE", reason=outcome, floating_ips=working)
