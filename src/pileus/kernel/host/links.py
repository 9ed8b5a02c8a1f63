"""Links, addresses and routes, read as structs and changed in batches through iproute2.

One `ip -batch` is one process for any number of changes and one clear error with its line.

A listing is whole or fails. When devices come and go while the kernel lists them, iproute2 prints what it got, says
"Dump was interrupted and may be inconsistent" on standard error, and ends well: such an answer may lack devices that
are there, and whoever believes it would remove or make again what is right. It is asked for again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from .command import CommandError, Completed, run

BATCH_TIMEOUT_S = 30.0
LIST_TRIES = 20  # each takes some milliseconds; on a host whose devices change all the time
INTERRUPTED = b"interrupted"
AUTOMATIC_ROUTES = ("kernel", "ra", "redirect")


class Link(Struct, frozen=True, kw_only=True):
    """One network device. `kind` is "" for physical ones; `info` is the kind's own data as iproute2 names it.

    `parent`: the device it stands on, if in the same namespace; `parent_index`: its index, if in another one.
    """

    index: int
    name: str
    kind: str
    mac_address: str
    mtu: int
    is_up: bool
    master: str | None
    alias: str
    info: dict[str, Any]
    parent: str | None = None
    parent_index: int | None = None
    has_carrier: bool = False


class Address(Struct, frozen=True):
    """An address on a link."""

    link: str
    ip_address: str
    prefix_length: int
    scope: str = "global"

    @property
    def cidr(self) -> str:
        return f"{self.ip_address}/{self.prefix_length}"


class FdbRecord(Struct, frozen=True):
    """A static forwarding entry of a vxlan device."""

    mac_address: str
    destination: str


class Route(Struct, frozen=True):
    """A route of the main table. `destination` is a CIDR; `via` None for on-link ones; `protocol` names who made it;
    `kind` is "" for ordinary ones, else "blackhole", "unreachable", …"""

    destination: str
    via: str | None
    link: str
    protocol: str = "static"
    kind: str = ""

    @property
    def words(self) -> str:
        """What `ip route delete` wants to hear."""
        parts = [self.kind, self.destination]
        parts += ["via", self.via] if self.via else []
        parts += ["dev", self.link] if self.link and not self.kind else []
        return " ".join([*filter(None, parts), "proto", self.protocol])


_ENTRIES = msgspec.json.Decoder(list[dict[str, Any]])


def _ip(namespace: str | None, *arguments: str) -> tuple[str, ...]:
    return ("ip", *(("-n", namespace) if namespace else ()), *arguments)


async def _list(argv: tuple[str, ...]) -> list[dict[str, Any]]:
    """What a listing command says in JSON. Raises CommandError if it does not get through without interruption."""
    for _ in range(LIST_TRIES):
        found = await run(argv)
        if INTERRUPTED not in found.stderr:
            return _decode(argv, found)
    raise CommandError(argv, found.exit_code, f"interrupted {LIST_TRIES} times by changes")


def _decode(argv: tuple[str, ...], found: Completed) -> list[dict[str, Any]]:
    if not found.stdout.strip():
        return []
    try:
        return _ENTRIES.decode(found.stdout)
    except msgspec.MsgspecError as error:  # cut short
        raise CommandError(argv, found.exit_code, f"not understood: {error}") from error


async def list_links(namespace: str | None = None) -> dict[str, Link]:
    """All devices by name. Raises CommandError."""
    argv = _ip(namespace, "-j", "-d", "link", "show")
    links = {link.name: link for link in map(_link, await _list(argv))}
    if not links:  # every namespace has a loopback device
        raise CommandError(argv, 0, "no device at all listed")
    return links


def _link(entry: dict[str, Any]) -> Link:
    linkinfo = entry.get("linkinfo", {})
    flags = entry.get("flags", [])
    return Link(
        index=entry["ifindex"],
        name=entry["ifname"],
        kind=linkinfo.get("info_kind", ""),
        mac_address=entry.get("address", ""),
        mtu=entry["mtu"],
        is_up="UP" in flags,
        master=entry.get("master"),
        alias=entry.get("ifalias", ""),
        info=linkinfo.get("info_data", {}),
        parent=entry.get("link"),
        parent_index=entry.get("link_index"),
        has_carrier="LOWER_UP" in flags,
    )


async def list_addresses(namespace: str | None = None) -> tuple[Address, ...]:
    """All addresses of all devices."""
    return tuple(
        Address(entry["ifname"], info["local"], info["prefixlen"], info.get("scope", "global"))
        for entry in await _list(_ip(namespace, "-j", "address", "show"))
        for info in entry.get("addr_info", [])
        if "local" in info
    )


async def list_routes(namespace: str | None = None) -> tuple[Route, ...]:
    """Routes of the main table that somebody made, IPv4 and IPv6: without those that the kernel makes by itself."""
    routes: list[Route] = []
    for family, default in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for entry in await _list(_ip(namespace, family, "-j", "route", "show")):
            protocol = entry.get("protocol", "boot")
            if protocol in AUTOMATIC_ROUTES:
                continue
            cidr = default if entry["dst"] == "default" else str(ipaddress.ip_network(entry["dst"]))
            kind = entry.get("type", "")
            routes.append(Route(cidr, entry.get("gateway"), entry.get("dev", ""), protocol, kind))
    return tuple(routes)


async def list_fdb() -> dict[str, frozenset[FdbRecord]]:
    """Permanent remote entries of all vxlan devices, by device (learned ones left out)."""
    records: dict[str, set[FdbRecord]] = {}
    for entry in await _list(("bridge", "-j", "fdb", "show")):
        if "dst" in entry and entry.get("state") == "permanent":
            records.setdefault(entry["ifname"], set()).add(FdbRecord(entry["mac"], entry["dst"]))
    return {name: frozenset(entries) for name, entries in records.items()}


async def change_links(lines: Iterable[str], namespace: str | None = None) -> None:
    """Run iproute2 lines ("link set x up", "address add ...") as one batch; stops at the first that fails.

    Raises CommandError that names the line.
    """
    await _batch("ip", tuple(lines), namespace)


async def change_fdb(lines: Iterable[str]) -> None:
    """Run `bridge` lines ("fdb append ...") as one batch."""
    await _batch("bridge", tuple(lines), None)


async def _batch(tool: str, lines: tuple[str, ...], namespace: str | None) -> None:
    if not lines:
        return
    argv = (tool, *(("-n", namespace) if namespace else ()), "-batch", "-")
    try:
        await run(argv, input="\n".join(lines) + "\n", timeout_s=BATCH_TIMEOUT_S)
    except CommandError as error:
        raise CommandError(argv, error.exit_code, f"{error.stderr} in: {'; '.join(lines)}") from None


async def delete_link(name: str, namespace: str | None = None) -> None:
    """Delete a device; already gone is fine."""
    try:
        await run(_ip(namespace, "link", "delete", "dev", name))
    except CommandError as error:
        if "Cannot find device" not in error.stderr and "Cannot open network namespace" not in error.stderr:
            raise
