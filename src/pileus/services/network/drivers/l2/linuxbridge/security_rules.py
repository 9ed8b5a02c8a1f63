"""Security groups as iptables text. Pure: structs in, text out.

Bridged packets pass the IP filters (br_netfilter). In the FORWARD chain each filtered port has two chains of ours: one
for what its guest sends, which ends in RETURN or DROP, and one for what it gets, which ends in ACCEPT or DROP; a packet
between two guests of this host passes both. Connections are tracked in a zone per network, so that equal addresses
in two networks stay apart.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from pileus.kernel.host.iptables import Family
from pileus.services.network.rpc import HostPort, SecurityRule

INLINE_PREFIXES = 8  # longer lists of remote prefixes get a chain of their own, shared by all ports that use it
ID_CHARS = 11

ETHERTYPES: dict[Family, str] = {"ipv4": "IPv4", "ipv6": "IPv6"}
PROTOCOL_NUMBERS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6-encap": 41, "ipv6-route": 43,
    "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59,
    "ipv6-opts": 60, "ospf": 89, "vrrp": 112, "pgm": 113, "sctp": 132, "udplite": 136,
}  # fmt: skip
ICMP, ICMP_V6 = 1, 58
PORT_PROTOCOLS = frozenset({6, 17, 33, 132, 136})  # those with ports that the multiport match knows

# What every guest may send and get whatever its groups say: asking for an address, and IPv6's neighbour discovery.
# Who may answer as a DHCP server or router is decided at the source (see port_security).
BASIC_EGRESS: dict[Family, tuple[str, ...]] = {
    "ipv4": ("-p udp -m udp --sport 68 --dport 67",),
    "ipv6": (
        *(f"-p ipv6-icmp -m icmp6 --icmpv6-type {number}" for number in (131, 132, 133, 135, 136, 143)),
        "-p udp -m udp --sport 546 --dport 547",
    ),
}
BASIC_INGRESS: dict[Family, tuple[str, ...]] = {
    "ipv4": ("-p udp -m udp --sport 67 --dport 68",),
    "ipv6": (
        *(f"-p ipv6-icmp -m icmp6 --icmpv6-type {number}" for number in (130, 131, 132, 134, 135, 136)),
        "-p udp -m udp --sport 547 --dport 546",
    ),
}


class Chains(Struct, frozen=True):
    """The names of our chains."""

    tag: str

    @property
    def forward(self) -> str:
        return f"{self.tag}-forward"

    @property
    def zones(self) -> str:
        return f"{self.tag}-zones"

    def egress(self, port_id: str) -> str:
        return f"{self.tag}-o-{port_id[:ID_CHARS]}"

    def ingress(self, port_id: str) -> str:
        return f"{self.tag}-i-{port_id[:ID_CHARS]}"

    def prefixes(self, prefixes: Sequence[str]) -> str:
        return f"{self.tag}-s-{hashlib.sha256(' '.join(prefixes).encode()).hexdigest()[:14]}"


class Rendered(Struct, frozen=True):
    """A restore text, and for people the rules that were left out because they mean nothing."""

    text: str
    problems: tuple[str, ...]


def is_filtered(port: HostPort) -> bool:
    """True if rules apply to the port at all."""
    return port.port_security_enabled and not port.trusted


def render(
    family: Family,
    tag: str,
    ports: Sequence[HostPort],
    zones: Mapping[str, int],
    in_force: Sequence[str],
) -> Rendered:
    """The rules of all ports for one family.

    `zones` maps bridge names to connection tracking zones. `in_force` are the lines of `save_rules`: with them the
    text removes chains of ours that are not wanted any more, and adds the jumps to ours once.
    """
    writer = _Writer(family, Chains(tag))
    for port in sorted(ports, key=lambda port: port.id):
        if is_filtered(port):
            writer.add_port(port)
    filter_table = writer.filter_table(in_force)
    raw_table = _zone_table(Chains(tag), zones, in_force)
    nat_table = _untranslated_table(Chains(tag), in_force) if family == "ipv4" else []
    return Rendered("\n".join([*raw_table, *nat_table, *filter_table, ""]), tuple(writer.problems))


def _zone_table(chains: Chains, zones: Mapping[str, int], in_force: Sequence[str]) -> list[str]:
    lines = ["*raw", f":{chains.zones} - [0:0]"]
    lines += _jump_once("PREROUTING", chains.zones, "raw", in_force)
    lines += [f"-A {chains.zones} -i {bridge} -j CT --zone {zone}" for bridge, zone in sorted(zones.items())]
    return [*lines, "COMMIT"]


def _untranslated_table(chains: Chains, in_force: Sequence[str]) -> list[str]:
    """The host's own address translation (of container tools, say) is not for packets that only cross a bridge."""
    incoming, outgoing = f"{chains.tag}-nat-in", f"{chains.tag}-nat-out"
    return [
        "*nat",
        f":{incoming} - [0:0]",
        f":{outgoing} - [0:0]",
        *_jump_once("PREROUTING", incoming, "nat", in_force),
        *_jump_once("POSTROUTING", outgoing, "nat", in_force),
        f"-A {incoming} -i brq+ -j ACCEPT",
        f"-A {outgoing} -o brq+ -j ACCEPT",
        "COMMIT",
    ]


def _jump_once(builtin: str, target: str, table: str, in_force: Sequence[str]) -> list[str]:
    here = _table_lines(table, in_force)
    return [] if f"-A {builtin} -j {target}" in here else [f"-I {builtin} 1 -j {target}"]


def _table_lines(table: str, in_force: Sequence[str]) -> list[str]:
    lines: list[str] = []
    current = ""
    for line in in_force:
        if line.startswith("*"):
            current = line[1:]
        elif current == table:
            lines.append(line)
    return lines


class _Writer:
    """Collects the chains of the filter table."""

    def __init__(self, family: Family, chains: Chains) -> None:
        self._family: Family = family
        self._chains = chains
        self._to_egress: list[str] = []
        self._to_ingress: list[str] = []
        self._bodies: dict[str, list[str]] = {}
        self._known_remotes: dict[tuple[tuple[str, ...] | None, str], list[str]] = {}
        self.problems: list[str] = []

    def add_port(self, port: HostPort) -> None:
        outgoing, incoming = self._chains.egress(port.id), self._chains.ingress(port.id)
        bridged = "-m physdev --physdev-is-bridged"
        self._to_egress.append(f"{bridged} --physdev-in {port.device_name} -j {outgoing}")
        self._to_ingress.append(f"{bridged} --physdev-out {port.device_name} -j {incoming}")
        self._bodies[outgoing] = [
            *(f"{match} -j RETURN" for match in BASIC_EGRESS[self._family]),
            "-m conntrack --ctstate INVALID -j DROP",
            *self._rules(port, "egress", "-d", "RETURN"),
            "-j DROP",
        ]
        self._bodies[incoming] = [
            *(f"{match} -j ACCEPT" for match in BASIC_INGRESS[self._family]),
            "-m conntrack --ctstate INVALID -j DROP",
            *self._rules(port, "ingress", "-s", "ACCEPT"),
            "-j DROP",
        ]

    def _rules(self, port: HostPort, direction: str, side: str, verdict: str) -> list[str]:
        lines: dict[str, None] = {}
        for rule in port.security_rules:
            if rule.direction != direction or rule.ethertype != ETHERTYPES[self._family]:
                continue
            try:
                match = match_of(rule)
                remotes = self._remotes_once(rule, side)
            except ValueError as error:
                self.problems.append(f"port {port.id}: {error}")
                continue
            if len(remotes) > INLINE_PREFIXES and verdict == "ACCEPT":
                lines[f"{match} -j {self._prefix_chain(remotes)}".strip()] = None
                continue
            for remote in remotes:
                lines[f"{remote} {match} -j {verdict}".strip().replace("  ", " ")] = None
        return list(lines)

    def _remotes_once(self, rule: SecurityRule, side: str) -> list[str]:
        """Ports of one group share their rules, and a group's members may be hundreds: worked out once."""
        key = rule.remote_prefixes, side
        if key not in self._known_remotes:
            self._known_remotes[key] = list(self._remotes(rule, side))
        return self._known_remotes[key]

    def _remotes(self, rule: SecurityRule, side: str) -> Iterator[str]:
        if rule.remote_prefixes is None:
            yield ""
            return
        wanted = 4 if self._family == "ipv4" else 6
        for prefix in sorted(set(rule.remote_prefixes)):
            network = ipaddress.ip_network(prefix, strict=False)
            if network.version == wanted:
                yield f"{side} {network}"

    def _prefix_chain(self, remotes: list[str]) -> str:
        name = self._chains.prefixes(remotes)
        self._bodies[name] = [f"{remote} -j ACCEPT" for remote in remotes]
        return name

    def filter_table(self, in_force: Sequence[str]) -> list[str]:
        forward = self._chains.forward
        bridges = "-i brq+ -o brq+ -m physdev --physdev-is-bridged"
        main = [
            f"{bridges} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            *self._to_egress,
            *self._to_ingress,
            f"{bridges} -j ACCEPT",
            # Our ends in the bridges of physical networks: the host's own FORWARD policy is for routed traffic.
            "-m physdev --physdev-is-bridged --physdev-in phb+ -j ACCEPT",
            "-m physdev --physdev-is-bridged --physdev-out phb+ -j ACCEPT",
        ]
        wanted = {forward: main, **self._bodies}
        stale = [
            line[1:].split(" ", 1)[0]
            for line in _table_lines("filter", in_force)
            if line.startswith(f":{self._chains.tag}-")
        ]
        stale = [name for name in stale if name not in wanted]
        lines = ["*filter"]
        lines += [f":{name} - [0:0]" for name in [*wanted, *stale]]
        lines += _jump_once("FORWARD", forward, "filter", in_force)
        lines += [f"-A {name} {rule}" for name, rules in wanted.items() for rule in rules]
        lines += [f"-X {name}" for name in stale]
        return [*lines, "COMMIT"]


def match_of(rule: SecurityRule) -> str:
    """The protocol part of a rule as iptables arguments. Raises ValueError if the rule makes no sense."""
    if rule.protocol is None:
        if rule.port_range_min is not None or rule.port_range_max is not None:
            raise ValueError("a port range needs a protocol")
        return ""
    number = protocol_number(rule.protocol)
    if rule.ethertype == "IPv6" and number == ICMP:
        number = ICMP_V6
    if number in (ICMP, ICMP_V6):
        return _icmp_match(number, rule)
    if rule.port_range_min is None and rule.port_range_max is None:
        return f"-p {number}" if number else ""
    if number not in PORT_PROTOCOLS:
        raise ValueError(f"protocol {rule.protocol} has no ports")
    low, high = rule.port_range_min, rule.port_range_max
    if low is None or high is None:
        low = high = low if low is not None else high
    if low is None or high is None or not 0 <= low <= high <= 65535:
        raise ValueError(f"bad port range {low}-{high}")
    ports = f"{low}" if low == high else f"{low}:{high}"
    return f"-p {number} -m multiport --dports {ports}"


def protocol_number(protocol: str) -> int:
    """IANA number of a protocol name or number. Raises ValueError."""
    name = protocol.lower()
    if name == "any":
        return 0
    number = PROTOCOL_NUMBERS.get(name)
    if number is None:
        if not name.isascii() or not name.isdigit() or int(name) > 255:
            raise ValueError(f"unknown protocol {protocol!r}")
        number = int(name)
    return number


def _icmp_match(number: int, rule: SecurityRule) -> str:
    if rule.ethertype == "IPv4" and number == ICMP_V6:
        return f"-p {number}"  # such packets do not exist in sane networks, but the rule is harmless
    base = "-p icmp -m icmp" if number == ICMP else "-p ipv6-icmp -m icmp6"
    option = "--icmp-type" if number == ICMP else "--icmpv6-type"
    kind, code = rule.port_range_min, rule.port_range_max
    if kind is None:
        return "-p icmp" if number == ICMP else "-p ipv6-icmp"
    if not 0 <= kind <= 255 or (code is not None and not 0 <= code <= 255):
        raise ValueError(f"bad icmp type or code {kind}/{code}")
    return f"{base} {option} {kind}" + ("" if code is None else f"/{code}")
