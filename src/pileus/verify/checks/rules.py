"""Packet rules in force on this host against the ports and routers they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pileus.kernel.host.iptables import Family
from pileus.services.network.drivers.l2.linuxbridge.port_security import bad_ports
from pileus.services.network.drivers.l2.linuxbridge.security_rules import ID_CHARS, Chains, is_filtered, render
from pileus.services.network.drivers.l3.netns import nat
from pileus.services.network.drivers.l3.netns.driver import NetnsL3Settings, namespace_of, ports_of
from pileus.services.network.drivers.ownership import Ownership
from pileus.services.network.rpc import HostPort, HostRouter, SecurityRule
from pileus.verify.checks.parts import read
from pileus.verify.evidence.kernel import rule_lines
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference

FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")
JUMPS_PER_PORT = 2  # one to the chain of what it sends, one to that of what it gets


def without_port(evidence: Evidence) -> Iterator[Difference]:
    """Rules of a port that is not bound here."""
    wanted = {port.id[:ID_CHARS] for port in read(evidence.desired).l2.ports}
    found: dict[str, set[str]] = {}
    for short, chain in _port_chains(evidence):
        if short not in wanted:
            found.setdefault(short, set()).add(chain)
    for short, chains in found.items():
        yield Difference(
            resources={"rules": short}, host=evidence.host,
            says=f"{evidence.host}: there are rule chains {', '.join(sorted(chains))}",
            found="network: no port of that id is bound to this host",
        )  # fmt: skip


def _port_chains(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """(first characters of the port's id, chain) of everything in force."""
    rules, tag = read(evidence.kernel).rules, Ownership(evidence.cloud).tag
    for chains in rules.chains.values():
        for chain in chains:
            for prefix in (f"{tag}-i-", f"{tag}-o-"):
                if chain.startswith(prefix):
                    yield chain.removeprefix(prefix), chain
    for name in rules.guarded_ports:
        short = name.replace("_", "-")[:ID_CHARS]
        yield short, f"from_{name}"


def port_without_rules(evidence: Evidence) -> Iterator[Difference]:
    """A port that must be filtered, with a device, and not all its rules: its guest may send and get what it must not,
    or does not get what it should."""
    rules, chains = read(evidence.kernel).rules, Chains(Ownership(evidence.cloud).tag)
    filtered = _filtered(evidence)
    sizes = _chain_sizes(filtered, chains.tag)
    for port in filtered:
        if port.device_name not in read(evidence.kernel).links:
            continue
        names = {"ingress": chains.ingress(port.id), "egress": chains.egress(port.id)}
        lacking = [
            f"{family}: {rules.chains[family].get(names[way], 'none')} instead of {wanted} in {names[way]}"
            for (family, way), wanted in sizes[port.security_rules].items()
            if rules.chains[family].get(names[way]) != wanted
        ]
        if port.device_name not in rules.guarded_devices:
            lacking.append("nothing stops false source addresses")
        if lacking:
            yield Difference(
                resources={"port": port.id}, host=evidence.host,
                says=f"network: the port is filtered on {evidence.host}",
                found=f"{evidence.host}: {'; '.join(lacking)}",
            )  # fmt: skip


Rules = tuple[SecurityRule, ...]


def _chain_sizes(ports: Iterable[HostPort], tag: str) -> dict[Rules, dict[tuple[Family, str], int]]:
    """How many lines a port's chains have, by its rules: most ports of a network have the same."""
    chains, sizes = Chains(tag), {}
    for port in ports:
        if port.security_rules not in sizes:
            of_port: dict[tuple[Family, str], int] = {}
            for family in FAMILIES:
                lines = rule_lines(render(family, tag, (port,), {}, ()).text.splitlines())
                of_port[family, "ingress"] = lines[chains.ingress(port.id)]
                of_port[family, "egress"] = lines[chains.egress(port.id)]
            sizes[port.security_rules] = of_port
    return sizes


def jump_missing(evidence: Evidence) -> Iterator[Difference]:
    """Rules that no packet meets: the chain that leads to them has fewer than it must."""
    rules, tag = read(evidence.kernel).rules, Ownership(evidence.cloud).tag
    chain, filtered = Chains(tag).forward, _filtered(evidence)
    if not filtered:
        return
    for family in FAMILIES:
        with_one = rule_lines(render(family, tag, filtered[:1], {}, ()).text.splitlines())[chain]
        wanted = with_one + JUMPS_PER_PORT * (len(filtered) - 1)
        found = rules.chains[family].get(chain, 0)
        if found != wanted:
            why = f"{family}: {found} rules instead of {wanted} in {chain}"
        elif family not in rules.entered:
            why = f"{family}: nothing leads from FORWARD to {chain}"
        else:
            continue
        yield Difference(
            resources={"chain": chain, "family": family}, host=evidence.host,
            says=f"network: {len(filtered)} ports are filtered on {evidence.host}", found=f"{evidence.host}: {why}",
        )  # fmt: skip


def router_without_rules(evidence: Evidence) -> Iterator[Difference]:
    """A router whose address translation is not what its floating IPs and gateway need."""
    namespaces = read(evidence.kernel).namespaces
    for router in read(evidence.desired).l3.routers:
        namespace = namespaces.get(namespace_of(router.id))
        if namespace is None or not router.admin_state_up:
            continue
        lacking = [
            f"{family}: {namespace.rules.get(family, 0)} instead of {wanted}"
            for family, wanted in _router_rules(router).items()
            if namespace.rules.get(family, 0) != wanted
        ]
        if lacking:
            yield Difference(
                resources={"router": router.id}, host=evidence.host,
                says=f"network: the router is on {evidence.host} with {len(router.floating_ips)} floating IPs in use",
                found=f"{evidence.host}: rules in its namespace: {'; '.join(lacking)}",
            )  # fmt: skip


def _router_rules(router: HostRouter) -> dict[str, int]:
    gateway = next((port.inner for port in ports_of(router) if port.prefix == "qg-"), None)
    port = NetnsL3Settings().metadata_port
    return {
        "ipv4": _count(nat.render_ipv4(router, gateway, port)), "ipv6": _count(nat.render_ipv6(router, gateway, port))
    }  # fmt: skip


def _count(text: str) -> int:
    return Counter(rule_lines(text.splitlines())).total()


def _filtered(evidence: Evidence) -> list[HostPort]:
    """Ports of this host that the L2 agent has rules for, as it decides it."""
    desired = read(evidence.desired).l2
    down = {network.id for network in desired.networks if not network.admin_state_up}
    live = [port for port in desired.ports if port.admin_state_up and port.network_id not in down]
    return [port for port in _sound(live) if is_filtered(port)]


def _sound(ports: Iterable[HostPort]) -> list[HostPort]:
    ports = list(ports)
    refused = bad_ports(ports)
    return [port for port in ports if port.id not in refused]
