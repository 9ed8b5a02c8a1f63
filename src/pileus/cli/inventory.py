"""`pileus inventory`: one file that says which process runs on which host, and each host's [processes] table from it.

    [groups.controllers]
    hosts = ["ctl-1", "ctl-2"]
    [groups.controllers.processes]
    identity = {roles = ["identity-api"], port = 8901}

A host may be in several groups: it gets the processes of all of them. Examples are shipped in the folder `inventories`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from pileus.cli import processes
from pileus.cli.processes import Entry
from pileus.kernel.config import ConfigError, load
from pileus.kernel.process import Role

Hosts = Mapping[str, Mapping[str, Entry]]
"""Host -> name of a process -> what it runs."""

MAX_HOSTS = 10_000
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hosts that run the same processes."""

    hosts: tuple[str, ...]
    processes: dict[str, Any]


class Inventory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    groups: dict[str, Group]


def check(file: str) -> int:
    """Print everything that is wrong with it; 1 when something is."""
    hosts, found = read(file)
    found = [*found, *problems(hosts)]
    for problem in found:
        print(f"wrong     {problem}")
    count = sum(len(table) for table in hosts.values())
    print(f"{file}: {len(hosts)} hosts, {count} processes, {len(found)} problems")
    return 1 if found else 0


def show(file: str, host: str) -> int:
    """Print the [processes] table of a host. Raises ConfigError when the host is not there, or wrong."""
    hosts, found = read(file)
    if host not in hosts:
        raise ConfigError(f"{file} has no host {host!r}; there are {', '.join(sorted(hosts))}")
    if wrong := next((problem for problem in (*found, *problems(hosts))), None):
        raise ConfigError(f"{file}: {wrong} (see `pileus inventory check`)")
    print(table_of(hosts[host]), end="")
    return 0


def examples() -> dict[str, str]:
    """The shipped inventories by name, each with its first line, which says what it is."""
    folder = resources.files("pileus.cli") / "inventories"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): file.read_text().splitlines()[0].lstrip("# ") for file in files}


def show_examples() -> int:
    """Print them."""
    for name, about in examples().items():
        print(f"{name:<20}  {about}")
    return 0


def read(file: str) -> tuple[Hosts, list[str]]:
    """The hosts of a file (or of a shipped example), and what prevents two groups from sharing a host. Raises
    ConfigError for what is no inventory at all."""
    path = Path(file)
    if not path.exists():
        if file not in examples():
            raise ConfigError(f"there is no file {file}, and no example of that name ({', '.join(examples())})")
        with resources.as_file(resources.files("pileus.cli") / "inventories" / f"{file}.toml") as shipped:
            tables = load(shipped)
    else:
        tables = load(path)
    try:
        inventory = msgspec.convert(tables, Inventory)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {error}") from error
    return _merged(file, inventory)


def _merged(file: str, inventory: Inventory) -> tuple[Hosts, list[str]]:
    hosts: dict[str, dict[str, Entry]] = {}
    clashes = []
    for name, group in inventory.groups.items():
        entries = processes.decoded(group.processes, f"{file}: group {name}")
        for host in group.hosts:
            table = hosts.setdefault(host, {})
            clashes += [f"{host}: two of its groups name a process {one}" for one in entries if one in table]
            table.update(entries)
    return hosts, clashes


def problems(hosts: Hosts) -> Iterator[str]:
    """Everything that cannot be meant, or would not work, a sentence each."""
    if not 0 < len(hosts) <= MAX_HOSTS:
        yield f"there are {len(hosts)} hosts"
    for host, table in hosts.items():
        if not _HOST.fullmatch(host):
            yield f"{host!r} is no name of a host"
        yield from (f"{host}: {problem}" for problem in processes.problems(table))
    known = processes.known_roles()
    yield from _of_the_cloud(hosts, known)
    yield from _of_neighbours(hosts, known)


def _of_the_cloud(hosts: Hosts, known: Mapping[str, Role]) -> Iterator[str]:
    for role in known.values():
        where = [host for host, table in hosts.items() if role.name in _roles(table)]
        if not where and role.default and not role.needs_broker:  # those only matter to a cloud that grows
            yield f"no host runs {role.name}: {role.about}"
        if len(where) > 1 and role.once:
            yield f"{', '.join(where)}: all run {role.name}, of which a cloud has one"


def _of_neighbours(hosts: Hosts, known: Mapping[str, Role]) -> Iterator[str]:
    for host, table in hosts.items():
        here = _roles(table)
        for name in sorted(here & known.keys()):
            for other in known[name].beside:
                if other not in here:
                    yield f"{host}: {name} needs {other} on the same host"


def _roles(table: Mapping[str, Entry]) -> set[str]:
    return {role for entry in table.values() for role in entry.roles}


def table_of(table: Mapping[str, Entry]) -> str:
    """A [processes] table as it stands in pileus.toml."""
    lines = [f"[{processes.SECTION}]"]
    for name, entry in table.items():
        port = f", port = {entry.port}" if entry.port is not None else ""
        lines.append(f"{name} = {{roles = {json.dumps(entry.roles)}{port}}}")
    return "\n".join(lines) + "\n"
