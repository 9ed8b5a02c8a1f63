"""Ports that live in a namespace of ours: a veth pair, one end inside, the other (the tap name) for the L2 agent."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from pileus.kernel.host import links, namespaces
from pileus.kernel.host.links import Address, Link
from pileus.kernel.host.sysctl import set_sysctls
from pileus.services.network.rpc import DEVICE_ID_CHARS, tap_name

from .ownership import Ownership

INNER_PREFIXES = ("qr-", "qg-", "ns-")
log = logging.getLogger(__name__)


class NamespacePort(Struct, frozen=True, kw_only=True):
    """One port: `prefix` names the inner end (`qr-`, `qg-`, `ns-`), `addresses` are with prefix length."""

    port_id: str
    prefix: str
    mac_address: str
    mtu: int
    addresses: tuple[str, ...]

    @property
    def inner(self) -> str:
        return f"{self.prefix}{self.port_id[:DEVICE_ID_CHARS]}"

    @property
    def outer(self) -> str:
        return tap_name(self.port_id)


class Change(Struct, frozen=True):
    """An address that came to (or went from) an inner device."""

    port: NamespacePort
    ip_address: str


class PortError(Exception):
    """The port cannot be made; the text says why."""


def canonical(cidr: str) -> str:
    """An address with prefix length in its normal spelling. Raises ValueError."""
    return str(ipaddress.ip_interface(cidr))


async def ensure_namespace(name: str, ownership: Ownership) -> None:
    """Make the namespace and mark it as ours (on its loopback). Raises PortError, CommandError."""
    if namespaces.namespace_inode(name) is None:
        await namespaces.add_namespace(name)
        await links.change_links([f'link set dev lo alias "{ownership.alias}"'], name)
        return
    loopback = (await links.list_links(name))["lo"]
    if loopback.alias and not ownership.owns(loopback.alias):
        raise PortError(f"namespace {name} belongs to somebody else")
    if not loopback.alias or not loopback.is_up:
        await links.change_links([f'link set dev lo alias "{ownership.alias}"', "link set dev lo up"], name)


async def ensure_ports(namespace: str, ports: Sequence[NamespacePort], ownership: Ownership) -> list[Change]:
    """Make, correct and remove ports so that exactly these are there. Returns the addresses that are new.

    Raises PortError, CommandError.
    """
    outside = await links.list_links()
    inside = await links.list_links(namespace)
    found = await links.list_addresses(namespace)
    wanted = {port.inner: port for port in ports}
    for name, link in list(inside.items()):
        if name.startswith(INNER_PREFIXES) and (name not in wanted or not _is_paired(link, wanted[name], outside)):
            await links.delete_link(name, namespace)
            del inside[name]
    await set_sysctls({"net/ipv6/conf/default/accept_ra": "0", "net/ipv6/conf/all/accept_ra": "0"}, namespace)
    changes: list[Change] = []
    for port in ports:
        if port.inner not in inside:
            await _create(namespace, port, outside.get(port.outer), ownership)
        changes += await _correct(namespace, port, inside.get(port.inner), found)
        await _correct_outside(port, outside.get(port.outer), port.inner in inside, ownership)
    return changes


def _is_paired(inner: Link, port: NamespacePort, outside: Mapping[str, Link]) -> bool:
    """False if the end outside is gone (renamed, moved away), or the one of that name is of another pair."""
    outer = outside.get(port.outer)
    return inner.kind == "veth" and outer is not None and inner.parent_index in (None, outer.index)


async def _create(namespace: str, port: NamespacePort, outer: Link | None, ownership: Ownership) -> None:
    if outer is not None:
        if outer.kind != "veth" or not ownership.owns(outer.alias):
            raise PortError(f"a foreign device named {port.outer} is in the way")
        await links.delete_link(port.outer)  # its other end is in a namespace that was removed by hand
    await links.change_links(
        [
            f"link add name {port.outer} mtu {port.mtu} type veth peer name {port.inner} mtu {port.mtu}"
            f" address {port.mac_address} netns {namespace}"
        ]
    )


async def _correct_outside(port: NamespacePort, outer: Link | None, existed: bool, ownership: Ownership) -> None:
    if existed and outer is not None and ownership.owns(outer.alias):
        return
    await links.change_links([f'link set dev {port.outer} alias "{ownership.alias}"'])


async def _correct(
    namespace: str, port: NamespacePort, link: Link | None, found: Iterable[Address]
) -> list[Change]:
    lines: list[str] = []
    if link is not None and link.mac_address != port.mac_address:
        lines += [f"link set dev {port.inner} down", f"link set dev {port.inner} address {port.mac_address}"]
    if link is not None and link.mtu != port.mtu:
        lines.append(f"link set dev {port.inner} mtu {port.mtu}")
    if link is None or not link.is_up or lines:
        lines.append(f"link set dev {port.inner} up")
    wanted = [canonical(cidr) for cidr in port.addresses]
    present = [address.cidr for address in found if address.link == port.inner and not _is_automatic(address)]
    new = [cidr for cidr in wanted if link is None or cidr not in present]
    # New ones first: removing a subnet's first address takes its other addresses along.
    lines += [f"address replace {cidr} dev {port.inner}{_family_flags(cidr)}" for cidr in new]
    if link is not None:
        lines += [f"address delete {cidr} dev {port.inner}" for cidr in present if cidr not in wanted]
    await links.change_links(lines, namespace)
    return [Change(port, cidr.split("/")[0]) for cidr in new]


def _family_flags(cidr: str) -> str:
    return " nodad" if ":" in cidr else ""


def _is_automatic(address: Address) -> bool:
    return address.scope == "link" and address.ip_address.startswith("fe80:")


async def remove_namespace(name: str, ownership: Ownership, *, is_known: bool = False) -> bool:
    """Remove a namespace of ours and its ports. False if it is not ours (then nothing is touched).

    is_known: an earlier process of ours was told to make it, and may have ended before it put our mark on it: then one
    without any mark is ours too.
    """
    if namespaces.namespace_inode(name) is not None:
        inside = await links.list_links(name)
        alias = inside["lo"].alias
        if not ownership.owns(alias) and (alias or not is_known):
            return False
        for link in inside:
            if link.startswith(INNER_PREFIXES):
                # At once, both ends: the kernel takes its time to clear a namespace.
                await links.delete_link(link, name)
    await namespaces.delete_namespace(name)
    log.info("namespace %s removed", name)
    return True


def unwanted(prefix: str, wanted: Iterable[str]) -> set[str]:
    """Namespaces with this name prefix that are not wanted; whether they are ours `remove_namespace` finds out."""
    return {name for name in namespaces.list_namespaces() if name.startswith(prefix)} - set(wanted)
