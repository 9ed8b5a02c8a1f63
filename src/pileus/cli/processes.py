"""The processes of a host: those of table [processes], or the one that runs every role.

    [processes]
    identity = {roles = ["identity-api", "identity-upkeep"], port = 8901}
    agents = {roles = ["network-l2", "compute-agent"]}
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pileus.cli.layout import Layout
from pileus.kernel.config import ConfigError, Port
from pileus.kernel.process import Role
from pileus.kernel.process.buses import is_local

SECTION = "processes"
WHOLE = "pileus"
"""The name of the process that runs every role; no other may have it."""
MAX_PROCESSES = 64

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of table [processes]. roles: what the process runs. port: of its APIs; only with an API among them."""

    roles: tuple[str, ...]
    port: Port | None = None


class Process(msgspec.Struct, frozen=True):
    """One process of this host. roles: None for all of them. layout: the cloud's, with this process's own port."""

    name: str
    layout: Layout
    roles: tuple[str, ...] | None = None
    port: int | None = None

    @property
    def title(self) -> str:
        """What operators call it."""
        return "The cloud" if self.roles is None else self.name

    @property
    def pid_file(self) -> Path:
        return self.layout.run_dir / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        return self.layout.log_dir / f"{self.name}.log"

    @property
    def probe_url(self) -> str | None:
        """What answers once the process serves; None when it has no port."""
        if self.port is None:
            return None
        has_identity = self.roles is None or "identity-api" in self.roles
        return self.layout.node.local_url + ("/identity/v3" if has_identity else "/")

    @property
    def command(self) -> list[str]:
        """What runs it in the foreground."""
        what = ["run"] if self.roles is None else ["serve", "--process", self.name]
        command = [sys.executable, "-m", "pileus.cli.main", *what, "--state-dir", str(self.layout.state_dir)]
        file = self.layout.config_file
        return command if file is None else [*command, "--config", str(file.absolute())]


def configured(layout: Layout) -> tuple[Process, ...]:
    """The processes that this host should run. Raises ConfigError for a table that cannot be meant."""
    table = layout.tables.get(SECTION)
    if table is None:
        return (whole(layout),)
    entries = decoded(table, f"[{SECTION}]")
    if found := next(problems(entries), None):
        raise ConfigError(f"[{SECTION}] {found}")
    if is_local(layout.tables):
        raise ConfigError(
            f'[{SECTION}] needs a message broker between the processes: set [bus] url = "amqp://user:password@host/"'
        )
    return tuple(_process(layout, name, entry) for name, entry in entries.items())


def whole(layout: Layout) -> Process:
    """The process that runs every role."""
    return Process(WHOLE, layout, None, layout.node.port)


def named(layout: Layout, name: str) -> Process:
    """The process of that name. Raises ConfigError."""
    found = {process.name: process for process in configured(layout) if process.roles is not None}
    if name not in found:
        there = ", ".join(found) or f"there is no table [{SECTION}]"
        raise ConfigError(f"[{SECTION}] does not name a process {name!r}; there are: {there}")
    return found[name]


def decoded(table: Any, where: str) -> dict[str, Entry]:
    """The entries of a table; `where` begins the text of the ConfigError."""
    if not isinstance(table, Mapping) or not table:
        raise ConfigError(f"{where} names no process; without the table one process runs every role")
    entries = {}
    for name, value in table.items():
        try:
            entries[name] = msgspec.convert(value, Entry)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where} {name}: {error}") from error
    return entries


def problems(entries: Mapping[str, Entry]) -> Iterator[str]:
    """What cannot be meant in the processes of one host, a sentence each."""
    known = known_roles()
    if len(entries) > MAX_PROCESSES:
        yield f"has {len(entries)} processes; at most {MAX_PROCESSES} are meant"
    for name, entry in entries.items():
        yield from (f"{name}: {problem}" for problem in _problems_of(name, entry, known))
    ports = Counter(entry.port for entry in entries.values() if entry.port is not None)
    for port, count in ports.items():
        if count > 1:
            sharers = ", ".join(name for name, entry in entries.items() if entry.port == port)
            yield f"{sharers}: have the same port {port}"
    for role, count in Counter(role for entry in entries.values() for role in set(entry.roles)).items():
        if count > 1 and role in known and not known[role].is_api:
            sharers = ", ".join(name for name, entry in entries.items() if role in entry.roles)
            yield f"{sharers}: all have the role {role}, which runs once on a host"


def _problems_of(name: str, entry: Entry, known: Mapping[str, Role]) -> Iterator[str]:
    if name == WHOLE or not _NAME.fullmatch(name):
        yield f"a process is named with a-z, 0-9 and -, and not {WHOLE}"
    if not entry.roles:
        yield "has no roles"
    for role, count in Counter(entry.roles).items():
        if role not in known:
            yield f"there is no role {role!r}; there are {', '.join(sorted(known))}"
        elif count > 1:
            yield f"names the role {role} twice"
    apis = [role for role in entry.roles if role in known and known[role].is_api]
    if apis and entry.port is None:
        yield f"has an API ({apis[0]}) and no port"
    if entry.port is not None and not apis and all(role in known for role in entry.roles):
        yield "has a port and no API among its roles"


def known_roles() -> dict[str, Role]:
    """Every role by its name."""
    from pileus.services import discover  # all services are loaded: only where it is needed

    return {role.name: role for service in discover() for role in service.roles}


def service_url(layout: Layout, kind: str) -> str:
    """The root of a service as this host's commands, and its users, reach it."""
    if layout.node.public_url:
        return f"{layout.node.url}/{kind}"
    if endpoint := layout.tables.get("endpoints", {}).get(kind):
        return str(endpoint).rstrip("/")
    for process in configured(layout):
        if process.port is not None and (process.roles is None or f"{kind}-api" in process.roles):
            return f"{process.layout.node.url}/{kind}"
    raise ConfigError(f"[endpoints] does not say where {kind} is, and no process of this host serves it")


def api_roots(layout: Layout) -> dict[str, str]:
    """Where each service is of which this host knows more than the cloud's one URL; for `Api`."""
    kinds = {str(kind) for kind in layout.tables.get("endpoints", {})}
    for process in configured(layout):
        kinds |= {role.removesuffix("-api") for role in process.roles or () if process.port and role.endswith("-api")}
    return {kind: service_url(layout, kind) for kind in sorted(kinds)}


def holds_identity(layout: Layout) -> bool:
    """Whether this host serves identity: it is then one on which the administrator's password is known."""
    return any(process.roles is None or "identity-api" in process.roles for process in configured(layout))


def _process(layout: Layout, name: str, entry: Entry) -> Process:
    if entry.port is not None:
        node = msgspec.structs.replace(layout.node, port=entry.port)
        layout = msgspec.structs.replace(layout, node=node)
    return Process(name, layout, tuple(entry.roles), entry.port)
