"""Layouts: which hosts a lab has, what they are attached to, what runs on them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pileus.kernel.config import ConfigError
from pileus.kernel.config.loader import Port

SHIPPED = Path(__file__).parent / "layouts"
NAME = re.compile(r"[a-z][a-z0-9-]{0,12}")
RESERVED = ("internet", "admin", "switch")
MAX_HOSTS = 40

NetworkName = Literal["management", "tunnel", "external"]
EngineName = Literal["rabbitmq", "mariadb", "galera", "memcached", "haproxy", "keepalived"]
SINGLE: tuple[EngineName, ...] = ("mariadb",)
CLUSTERED_MIN = 3


class Process(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process of a host. port: where its API listens; None when no API is among its roles."""

    roles: tuple[str, ...]
    port: Port | None = None


class HostPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host. nics: the network of each of its cards, in order (eth0, eth1, …); the first carries the host's address.
    processes: none means the one-process cloud, unless `cloud` is false. engines: what else runs there. tables: more
    for its pileus.toml, over what the lab writes. shared: directories below /var that are one and the same on all hosts
    that name them, as a network file system would make them."""

    nics: Annotated[tuple[NetworkName, ...], msgspec.Meta(min_length=1, max_length=3)]
    processes: dict[str, Process] = {}
    engines: tuple[EngineName, ...] = ()
    cloud: bool = True
    tables: dict[str, dict] = {}
    shared: tuple[Annotated[str, msgspec.Meta(pattern="^/var/[a-z/-]+$")], ...] = ()

    @property
    def is_whole_cloud(self) -> bool:
        """Whether one process runs all roles."""
        return self.cloud and not self.processes

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of all its processes."""
        return tuple(role for process in self.processes.values() for role in process.roles)


class Layout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A layout file. about: one sentence. hosts: in the order in which they are started."""

    about: str
    hosts: dict[str, HostPlan]

    def with_engine(self, *names: str) -> tuple[str, ...]:
        """The hosts that have one of these engines."""
        return tuple(host for host, plan in self.hosts.items() if set(plan.engines) & set(names))

    def with_role(self, role: str) -> tuple[str, ...]:
        """The hosts that run a role."""
        return tuple(host for host, plan in self.hosts.items() if role in plan.roles or plan.is_whole_cloud)


def shipped() -> dict[str, Layout]:
    """The layouts that come with the product, by name."""
    return {path.stem: read(path) for path in sorted(SHIPPED.glob("*.toml"))}


def find(name: str) -> tuple[Layout, str]:
    """The layout of that name or in that file, and its text. ConfigError says what is wrong with it."""
    path = SHIPPED / f"{name}.toml"
    if "/" in name or name.endswith(".toml") or not path.exists():
        path = Path(name)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise ConfigError(f"there is no layout {name!r}; there are {names}, or give a file")
    return read(path), path.read_text()


def read(path: Path) -> Layout:
    """The layout in a file. Raises ConfigError."""
    try:
        return parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"layout {path} cannot be read: {error}") from error


def parse(text: str, where: str) -> Layout:
    """The layout in a text that came from `where`. Raises ConfigError."""
    try:
        layout = msgspec.convert(tomllib.loads(text), Layout)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"layout {where}: {error}") from error
    if fault := _fault(layout):
        raise ConfigError(f"layout {where}: {fault}")
    return layout


def _fault(layout: Layout) -> str | None:
    """The first thing wrong with it that types do not tell."""
    if not 0 < len(layout.hosts) <= MAX_HOSTS:
        return f"a lab has 1 to {MAX_HOSTS} hosts"
    for name, plan in layout.hosts.items():
        if fault := _host_fault(name, plan):
            return f"host {name}: {fault}"
    return _cloud_fault(layout)


def _host_fault(name: str, plan: HostPlan) -> str | None:
    if not NAME.fullmatch(name) or name in RESERVED:
        return f"a name is a letter and up to 12 of a-z, 0-9 and -, and none of {', '.join(RESERVED)}"
    if len(set(plan.nics)) < len(plan.nics):
        return "two cards on one network"
    if plan.nics[0] == "tunnel" or ("management" in plan.nics and plan.nics[0] != "management"):
        return "the first card is on the management network (or on the external one where there is none)"
    if {"mariadb", "galera"} <= set(plan.engines):
        return "mariadb or galera, not both"
    if plan.processes and not plan.cloud:
        return "it has processes, but cloud = false"
    ports = [process.port for process in plan.processes.values() if process.port is not None]
    if len(set(ports)) < len(ports):
        return "two processes have the same port"
    for process_name, process in plan.processes.items():
        if not process.roles:
            return f"process {process_name} has no roles"
        if any(role.endswith("-api") for role in process.roles) != (process.port is not None):
            return f"process {process_name}: a port belongs to a process with an API, and to no other"
    return None


def _cloud_fault(layout: Layout) -> str | None:
    whole = [name for name, plan in layout.hosts.items() if plan.is_whole_cloud]
    others = [name for name, plan in layout.hosts.items() if plan.cloud and name not in whole[:1]]
    if whole and others:
        return f"host {whole[0]} is a whole cloud (it has no processes), so {others[0]} can only be with cloud = false"
    if whole and whole[0] != next(iter(layout.hosts)):
        return f"host {whole[0]} is a whole cloud, so it is the first host"
    for engine in SINGLE:
        if len(hosts := layout.with_engine(engine)) > 1:
            return f"{engine} runs on one host, not on {', '.join(hosts)}; several members are galera"
    if (count := len(layout.with_engine("galera"))) and count < CLUSTERED_MIN:
        return f"galera needs {CLUSTERED_MIN} members, not {count}"
    if len({plan.nics[0] for plan in layout.hosts.values()}) > 1:
        return "the first cards of all hosts are on one network"
    if not whole:
        if not layout.with_engine("rabbitmq"):
            return "roles in processes of their own need rabbitmq on a host"
        if not layout.with_engine("mariadb", "galera"):
            return "roles on several hosts need mariadb or galera on a host"
        if bool(layout.with_engine("haproxy")) != bool(layout.with_engine("keepalived")):
            return "haproxy and keepalived belong together: one listens on the address that the other moves"
    return None
