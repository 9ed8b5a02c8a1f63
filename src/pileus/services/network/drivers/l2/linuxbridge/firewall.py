"""Loads the rendered rules, only when they differ from what is in force, and cuts flows that lost their rule."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from pileus.kernel.host import conntrack, iptables, nftables
from pileus.kernel.host.command import run
from pileus.kernel.host.iptables import Family
from pileus.kernel.host.sysctl import set_sysctls
from pileus.services.network.rpc import HostPort, SecurityRule

from .port_security import render_table
from .security_rules import is_filtered, render

FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")
BRIDGE_SYSCTLS = {
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
    "net/bridge/bridge-nf-call-arptables": "0",
}
COMPARE_AGAIN_S = 5.0
log = logging.getLogger(__name__)


class _Loaded(Struct, frozen=True):
    """A text we loaded, and how the kernel showed it right afterwards."""

    text: str
    in_force: tuple[str, ...]


class _Wanted(Struct, frozen=True):
    """All that the rules follow from."""

    ports: tuple[HostPort, ...]
    bridge_ports: frozenset[str]
    zones: tuple[tuple[str, int], ...]


class Firewall:
    """Security groups and anti-spoofing of one host. `tag` prefixes every chain and table."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._detector = iptables.ChangeDetector()
        self._in_force: _Wanted | None = None
        self._compare_at = math.inf
        self._loaded: dict[str, _Loaded] = {}
        self._ports: dict[str, HostPort] = {}

    def adopt(self, ports: Iterable[HostPort]) -> None:
        """Tell what an earlier process had loaded, so that rules lost meanwhile cut their flows."""
        self._ports = {port.id: port for port in ports}

    @property
    def known_ports(self) -> tuple[HostPort, ...]:
        """The ports whose rules were in force before the next `apply`."""
        return tuple(self._ports.values())

    async def apply(
        self,
        ports: Sequence[HostPort],
        bridge_ports: Iterable[str],
        zones: Mapping[str, int],
        zone_of_network: Mapping[str, int],
    ) -> None:
        """Put the rules of all `ports` in force. Raises CommandError if the kernel refuses them."""
        await _filter_bridged_packets()
        wanted = _Wanted(tuple(ports), frozenset(bridge_ports), tuple(sorted(zones.items())))
        is_compared = time.monotonic() < self._compare_at
        if wanted == self._in_force and is_compared and not await self._detector.may_have_changed():
            return
        self._in_force = None
        version, self._compare_at = await self._detector.version(), math.inf
        if await self._load(wanted, zones):
            # Compared once more a little later: what somebody else changed right now may be behind this number.
            version, self._compare_at = await self._detector.version(), time.monotonic() + COMPARE_AGAIN_S
        self._detector.looked(version)
        self._in_force = wanted
        await self._cut_lost_flows(ports, zone_of_network)

    async def _load(self, wanted: _Wanted, zones: Mapping[str, int]) -> bool:
        """Load what differs from what is in force; True if something did."""
        loaded = [await self._apply_bridge_table(render_table(self._tag, wanted.ports, wanted.bridge_ports))]
        loaded += [await self._apply_family(family, wanted.ports, zones) for family in FAMILIES]
        return any(loaded)

    async def _apply_bridge_table(self, text: str) -> bool:
        loaded = self._loaded.get("bridge")
        if loaded is not None and loaded.text == text:
            shown = await nftables.list_table("bridge", self._tag)
            if (shown or "",) == loaded.in_force:
                return False
        await nftables.load_ruleset(text)
        shown = await nftables.list_table("bridge", self._tag)
        self._loaded["bridge"] = _Loaded(text, (shown or "",))
        return True

    async def _apply_family(self, family: Family, ports: Sequence[HostPort], zones: Mapping[str, int]) -> bool:
        before = await iptables.save_rules(family)
        loaded = self._loaded.get(family)
        # The text for a rule set in force adds no jump and removes no chain: that is what `loaded` keeps.
        rendered = render(family, self._tag, ports, zones, before)
        if loaded is not None and self._ours(before) == loaded.in_force and rendered.text == loaded.text:
            return False
        for problem in rendered.problems:
            log.warning("security rule left out: %s", problem)
        await iptables.load_rules(family, rendered.text, keep_others=True)
        after = await iptables.save_rules(family)
        text = rendered.text
        if "\n-I " in text or "\n-X " in text:  # those lines are not needed the next time
            text = render(family, self._tag, ports, zones, after).text
        self._loaded.pop(family, None)
        if self._count(after) == self._count(rendered.text.splitlines()):  # nobody else changed them meanwhile
            self._loaded[family] = _Loaded(text, self._ours(after))
        return True

    def _count(self, lines: Iterable[str]) -> int:
        return sum(line.startswith(f"-A {self._tag}-") for line in lines)

    def _ours(self, lines: Iterable[str]) -> tuple[str, ...]:
        return tuple(line for line in lines if f"{self._tag}-" in line)

    async def _cut_lost_flows(self, ports: Sequence[HostPort], zone_of_network: Mapping[str, int]) -> None:
        now = {port.id: port for port in ports}
        lost: dict[int, set[str]] = {}
        for port_id, before in self._ports.items():
            zone = zone_of_network.get(before.network_id)
            after = now.get(port_id)
            if zone is not None and after != before and loses_rights(before, after):
                lost.setdefault(zone, set()).update(addresses_of(before))
        self._ports = now
        for zone, addresses in lost.items():
            await conntrack.forget_addresses(zone, sorted(addresses))


async def _filter_bridged_packets() -> None:
    """Let bridged packets pass the IP filters. Raises OSError if this kernel cannot."""
    try:
        await set_sysctls(BRIDGE_SYSCTLS)
    except FileNotFoundError:
        await run(("modprobe", "br_netfilter"))
        await set_sysctls(BRIDGE_SYSCTLS)


def loses_rights(before: HostPort, after: HostPort | None) -> bool:
    """True if something the port was allowed before is not allowed any more."""
    if after is None or (is_filtered(after) and not is_filtered(before)):
        return True
    if not is_filtered(after):
        return False
    if set(addresses_of(before)) - set(addresses_of(after)):
        return True
    return bool(_grants(before) - _grants(after))


def _grants(port: HostPort) -> set[tuple[SecurityRule, str | None]]:
    grants: set[tuple[SecurityRule, str | None]] = set()
    for rule in port.security_rules:
        bare = SecurityRule(
            direction=rule.direction,
            ethertype=rule.ethertype,
            protocol=rule.protocol,
            port_range_min=rule.port_range_min,
            port_range_max=rule.port_range_max,
        )
        for prefix in (None,) if rule.remote_prefixes is None else rule.remote_prefixes:
            grants.add((bare, prefix))
    return grants


def addresses_of(port: HostPort) -> tuple[str, ...]:
    """The single addresses a port sends from (networks of address pairs are left out)."""
    pairs = (pair.ip_address for pair in port.allowed_address_pairs if "/" not in pair.ip_address)
    return tuple(dict.fromkeys([*(ip.ip_address for ip in port.fixed_ips), *pairs]))
