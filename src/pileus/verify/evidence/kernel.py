"""What this host's kernel has for networks: devices, namespaces, rule sets. Only what carries this cloud's mark."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from pileus.kernel.host import iptables, links, namespaces, nftables
from pileus.kernel.host.command import CommandError
from pileus.kernel.host.iptables import Family
from pileus.services.compute.worker.hooks.taps import server_of
from pileus.services.network.drivers.dhcp.dnsmasq.driver import NAMESPACE_PREFIX as DHCP_PREFIX
from pileus.services.network.drivers.l2.linuxbridge.security_rules import Chains
from pileus.services.network.drivers.l3.netns.driver import NAMESPACE_PREFIX as ROUTER_PREFIX
from pileus.services.network.drivers.ownership import Ownership

AT_ONCE = 4  # processes that look into namespaces at the same time
_NFT_CHAIN = re.compile(r"^\s*chain (from_\w+?) \{$", re.MULTILINE)
_NFT_JUMP = re.compile(r'"([^"]+)" : jump from_')


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A device. is_ours: it carries the mark of this cloud's network agents. server: the server that compute made the
    tap for, if its mark says so."""

    name: str
    kind: str
    master: str | None
    is_ours: bool
    server: str | None


class NamespaceRecord(msgspec.Struct, frozen=True):
    """A namespace of a router or of a network's DHCP, with its devices. rules: rule lines by family."""

    name: str
    is_ours: bool
    links: frozenset[str]
    rules: dict[str, int] = {}


class RuleRecords(msgspec.Struct, frozen=True):
    """chains: number of rules by chain of ours, by family. entered: families in which bridged packets get into our
    chains. guarded: devices that the anti-spoofing table names, and
    the ports (first characters of their ids) that it has chains for."""

    chains: dict[str, dict[str, int]]
    entered: frozenset[str]
    guarded_devices: frozenset[str]
    guarded_ports: frozenset[str]


class KernelRecords(msgspec.Struct, frozen=True):
    """By name."""

    links: dict[str, LinkRecord]
    namespaces: dict[str, NamespaceRecord]
    rules: RuleRecords


async def read(ownership: Ownership) -> KernelRecords:
    """Look. Raises CommandError."""
    found = {name: _link(link, ownership) for name, link in (await links.list_links()).items()}
    gate = asyncio.Semaphore(AT_ONCE)
    names = [name for name in namespaces.list_namespaces() if name.startswith((ROUTER_PREFIX, DHCP_PREFIX))]
    inside = await asyncio.gather(*(_namespace(name, ownership, gate) for name in names))
    return KernelRecords(found, {item.name: item for item in inside if item}, await _rules(ownership.tag))


def _link(link: links.Link, ownership: Ownership) -> LinkRecord:
    return LinkRecord(
        name=link.name, kind=link.kind, master=link.master, is_ours=ownership.owns(link.alias),
        server=server_of(link.alias, ownership.cloud),
    )


async def _namespace(name: str, ownership: Ownership, gate: asyncio.Semaphore) -> NamespaceRecord | None:
    async with gate:
        try:
            inside = await links.list_links(name)
            loopback = inside.get("lo")
            is_ours = loopback is not None and ownership.owns(loopback.alias)
            rules: dict[str, int] = {}
            if is_ours and name.startswith(ROUTER_PREFIX):
                rules = {
                    family: rule_lines(await iptables.save_rules(family, name)).total() for family in _FAMILIES
                }
        except CommandError:
            if namespaces.namespace_inode(name) is None:
                return None  # gone meanwhile
            raise
    return NamespaceRecord(name, is_ours, frozenset(inside), rules)


_FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


async def _rules(tag: str) -> RuleRecords:
    chains: dict[str, dict[str, int]] = {}
    entered: set[str] = set()
    for family in _FAMILIES:
        saved = await iptables.save_rules(family)
        if f"-A FORWARD -j {Chains(tag).forward}" in saved:
            entered.add(family)
        mine = {line[1:].split(" ", 1)[0]: 0 for line in saved if line.startswith(f":{tag}-")}
        chains[family] = mine | {name: count for name, count in rule_lines(saved).items() if name in mine}
    table = await nftables.list_table("bridge", tag) or ""
    ports = {name.removeprefix("from_") for name in _NFT_CHAIN.findall(table)}
    return RuleRecords(chains, frozenset(entered), frozenset(_NFT_JUMP.findall(table)), frozenset(ports))


def rule_lines(lines: Iterable[str]) -> Counter[str]:
    """Number of rules by chain, from text in iptables-save or iptables-restore format."""
    return Counter(line.split(" ", 2)[1] for line in lines if line.startswith("-A "))
