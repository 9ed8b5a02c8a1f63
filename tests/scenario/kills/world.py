"""What a host and the databases of its cloud really hold, as sorted lines that can be compared.

Two looks are equal when nothing was left behind and nothing was lost between them, whoever made the change.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

World = dict[str, list[str]]

COMMAND_TIMEOUT_S = 120
# Counters, and the number of a network's conntrack zone: any does, as long as it is the network's own.
VARYING = re.compile(r"counter packets \d+ bytes \d+|\[\d+:\d+\]|^#.*$|(?<=--zone )\d+", re.MULTILINE)
UNIMPORTANT = re.compile(r"ip6?tables-save|^\s*$")

# What people and agents see of a resource, not when it was seen: (table, columns, condition) by service.
ROWS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "placement": (
        ("allocations", "consumer_uuid, provider_id, resource_class, used", "1=1"),
        ("consumers", "uuid, project_id", "1=1"),
    ),
    "network": (
        ("ports", "id, network_id, mac_address, status, device_id, device_owner, host, vif_type", "1=1"),
        ("addresses", "subnet_id, ip_address, port_id", "1=1"),
        ("floating_ips", "id, floating_ip_address, port_id, fixed_ip_address, router_id, status", "1=1"),
        ("segments", "network_type, segmentation_id, network_id", "1=1"),
    ),
    "compute": (
        ("servers", "id, name, vm_state, task_state, power_state, host", "deleted_at is null"),
        ("flows", "id, name, resource_id, state", "state in ('running', 'undoing')"),
    ),
}

Read = Callable[[str, str, str, str], Iterable[tuple[Any, ...]]]
"""Rows of (service, table, columns, condition), read beside the cloud."""


def look(state: Path, read: Read | None = None) -> World:
    """Everything of the cloud in `state`, and of the (private) host this process is on. `read`: where its rows are, if
    not in SQLite."""
    read = read or functools.partial(_sqlite, state)
    world = {
        "links": _links(None), "namespaces": _namespaces(), "rules": _rules(None),
        "processes": sorted([*_processes(), *imagined_guests(state)]),
        "files": sorted(_files(state)), "domains": sorted(_domains(state)),
    }  # fmt: skip
    for namespace in world["namespaces"]:
        world["links"] += _links(namespace)
        world["rules"] += _rules(namespace)
    world["leases"] = sorted(_dhcp_hosts())
    for service, tables in ROWS.items():
        found = [f"{table} {tuple(row)}" for table, *what in tables for row in read(service, table, *what)]
        world[f"rows of {service}"] = sorted(found)
    return world


def difference(before: World, now: World) -> list[str]:
    """What came (+) and what went (-), by section."""
    lines = []
    for section in before.keys() | now.keys():
        old, new = before.get(section, []), now.get(section, [])
        lines += [f"{section}: - {line}" for line in _without(old, new)]
        lines += [f"{section}: + {line}" for line in _without(new, old)]
    return sorted(lines)


def _without(these: list[str], those: list[str]) -> list[str]:
    left = list(those)
    found = []
    for line in these:
        if line in left:
            left.remove(line)
        else:
            found.append(line)
    return found


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    return done.stdout


def _inside(namespace: str | None, *argv: str) -> str:
    return _run(*(("ip", "netns", "exec", namespace) if namespace else ()), *argv)


def _namespaces() -> list[str]:
    return sorted(line.split()[0] for line in _run("ip", "netns").splitlines() if line.strip())


def _links(namespace: str | None) -> list[str]:
    """Name, state, master and addresses of each device."""
    where, found = namespace or "host", []
    for line in _inside(namespace, "ip", "-o", "link").splitlines():
        name = line.split(":")[1].strip().split("@")[0]
        master = re.search(r" master (\S+)", line)
        up = "up" if re.search(r"[<,]UP[,>]", line) else "down"
        found.append(f"{where} {name} {up} in {master.group(1) if master else '-'}")
    for line in _inside(namespace, "ip", "-o", "-4", "address").splitlines():
        found.append(f"{where} address {' '.join(line.split()[1:4])}")
    return sorted(found)


def _rules(namespace: str | None) -> list[str]:
    where, found = namespace or "host", []
    for command in (("iptables-save",), ("ip6tables-save",), ("nft", "list", "ruleset")):
        for line in VARYING.sub("", _inside(namespace, *command)).splitlines():
            words = re.sub(r"(?<=\{ )[^{}]*(?= \})", lambda m: ", ".join(sorted(m.group().split(", "))), line)
            if not UNIMPORTANT.search(words):
                found.append(f"{where} {command[0]} {words.strip()}")
    return sorted(found)


def _processes() -> Iterator[str]:
    """Those that serve guests: which guest, which network."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            program = Path(words[0]).name
            if program.startswith("qemu-system") and "-uuid" in words:  # else libvirt asks it what it can do
                yield f"guest {words[words.index('-uuid') + 1]}"
            elif program == "dnsmasq":
                yield "dnsmasq " + next((word for word in words if word.startswith("--pid-file=")), "")
            elif program == "libvirtd":
                yield "libvirtd"


def imagined_guests(state: Path) -> Iterator[str]:
    """Those that the fake hypervisor says it runs."""
    file, running = state / "compute" / "fake-guests.json", {}
    for line in file.read_text().splitlines() if file.exists() else ():
        running |= json.loads(line)
    return (f"guest {server}" for server, guest in running.items() if guest is not None and guest["running"])


def _files(state: Path) -> Iterator[str]:
    """Files of guests: disks, definitions, journals."""
    for folder in ("compute/instances", "compute/libvirt/etc/qemu"):
        for path in (state / folder).rglob("*"):
            yield str(path.relative_to(state))


def _domains(state: Path) -> Iterator[str]:
    for path in (state / "compute" / "libvirt" / "etc" / "qemu").glob("*.xml"):
        yield path.stem


def _dhcp_hosts() -> Iterator[str]:
    for path in Path("/run/pileus").glob("*/dhcp/*/hosts"):
        for line in path.read_text().splitlines():
            yield f"{path.parent.name} {line}"


def _sqlite(state: Path, service: str, table: str, columns: str, condition: str) -> list[tuple[Any, ...]]:
    file = state / "db" / f"{service}.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(f"select {columns} from {table} where {condition}").fetchall()
