"""The dnsmasqs of this cloud on this host: their processes, the hosts they know, the leases they gave."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pileus.kernel.host import dnsmasq


class DhcpEntry(msgspec.Struct, frozen=True):
    """A MAC with an IPv4 address."""

    mac_address: str
    ip_address: str


class DhcpRecord(msgspec.Struct, frozen=True):
    """One network's dnsmasq. pid: None when none runs. hosts: what it may give; leases: what it gave (IPv4)."""

    network_id: str
    pid: int | None
    hosts: frozenset[DhcpEntry]
    leases: frozenset[DhcpEntry]


def read(directory: Path) -> dict[str, DhcpRecord]:
    """By network. Raises OSError."""
    if not directory.exists():
        return {}
    return {entry.name: _one(entry) for entry in directory.iterdir() if entry.is_dir()}


def _one(directory: Path) -> DhcpRecord:
    hosts, leases = (_lines(directory / name) for name in ("hosts", "leases"))
    return DhcpRecord(
        directory.name, dnsmasq.find_running(directory / "pid"),
        frozenset(entry for line in hosts if (entry := host_entry(line))),
        frozenset(entry for line in leases if (entry := lease_entry(line))),
    )  # fmt: skip


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def host_entry(line: str) -> DhcpEntry | None:
    """A line of a hosts file: `<mac>[,set:…],<name>,<address>`; None for IPv6 and what is no entry."""
    fields = line.split(",")
    return DhcpEntry(fields[0].lower(), fields[-1]) if len(fields) > 2 and "[" not in fields[-1] else None


def lease_entry(line: str) -> DhcpEntry | None:
    """A line of a leases file: `<expiry> <mac> <address> <name> <client id>`; IPv6 leases name no MAC."""
    fields = line.split()
    if len(fields) < 3 or ":" not in fields[1] or ":" in fields[2]:
        return None
    return DhcpEntry(fields[1].lower(), fields[2])
