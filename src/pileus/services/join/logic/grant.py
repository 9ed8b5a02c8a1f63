"""What a token lets a host be: its processes, and what their roles need to know. Worked out when the token is made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pileus.kernel.process.manifest import Role, Service

PROCESS = re.compile(r"([a-z0-9][a-z0-9-]{0,31})=([a-z0-9,-]+)(?::([0-9]{1,5}))?")
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
CLOUD_TABLES = ("bus",)
CONTROLLER_TABLES = ("database", "cache", "join")
OWN_OPTIONS = (("network", "tunnel_ip"), ("compute", "agent", "host_ip"))
"""Of the host that has them: not copied to another one."""
FIXED_OPTIONS: dict[str, dict[str, Any]] = {"network": {"external_bridges": {}}}
"""Hosts that join are not the way out of the cloud, as a cloud's only host is by default."""


class UnfitGrant(ValueError):
    """A host cannot be that; the text says why."""


class Process(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the table [processes]."""

    roles: tuple[str, ...]
    port: int | None = None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """is_controller: some role needs databases, so the host gets the cluster key. secrets: names of those that the
    roles of any other host need. services: types of the services that the roles are of. endpoints: by service type."""

    processes: dict[str, Process]
    is_controller: bool
    secrets: tuple[str, ...]
    services: tuple[str, ...]
    endpoints: dict[str, str]


def read_process(text: str) -> tuple[str, Process]:
    """`name=role,role` or, with an API among the roles, `name=role,role:port`. Raises UnfitGrant."""
    match = PROCESS.fullmatch(text)
    if match is None:
        raise UnfitGrant(f"{text!r} is not NAME=ROLE,ROLE or NAME=ROLE,ROLE:PORT")
    name, roles, port = match.groups()
    if port is not None and not 0 < int(port) < 65_536:
        raise UnfitGrant(f"{port} is no port")
    return name, Process(tuple(filter(None, dict.fromkeys(roles.split(",")))), int(port) if port else None)


def make(texts: Sequence[str], services: Iterable[Service], endpoints: Mapping[str, str], tables: Mapping) -> Grant:
    """The grant of a host with these processes. tables: the cloud's configuration. Raises UnfitGrant."""
    known = {role.name: (role, service) for service in services for role in service.roles}
    processes: dict[str, Process] = {}
    chosen: list[tuple[Role, Service]] = []
    for text in texts:
        name, process = read_process(text)
        if name in processes:
            raise UnfitGrant(f"there are two processes {name!r}")
        if unknown := [role for role in process.roles if role not in known]:
            raise UnfitGrant(f"there is no role {unknown[0]!r}; there are {', '.join(sorted(known))}")
        here = [known[role] for role in process.roles]
        if any(role.is_api for role, _ in here) != (process.port is not None):
            raise UnfitGrant(f"process {name!r}: a port is needed with an API among its roles, and only then")
        processes[name] = process
        chosen += here
    needing = {service.type for role, service in chosen if role.needs_db}
    if without := sorted(needing - tables.get("database", {}).keys()):
        raise UnfitGrant(
            f"[database] has no URL for {without[0]}: a controller on another host cannot use a file of this one"
        )
    return Grant(
        processes=processes, is_controller=bool(needing),
        secrets=tuple(sorted({name for role, _ in chosen for name in role.secrets})),
        services=tuple(sorted({service.type for _, service in chosen})), endpoints=dict(endpoints),
    )  # fmt: skip


def configuration(grant: Grant, tables: Mapping[str, Any], *, cloud: str, region: str) -> dict[str, Any]:
    """The tables of the new host's configuration; it adds to [node] what only it knows."""
    node = {"cloud": cloud, "region": region}
    if grant.is_controller and (url := tables.get("node", {}).get("public_url")):
        node["public_url"] = url
    wanted = (*CLOUD_TABLES, *grant.services, *(CONTROLLER_TABLES if grant.is_controller else ()))
    copied = {name: dict(tables[name]) for name in wanted if name in tables}
    for path in OWN_OPTIONS:
        copied = _without(copied, path)
    for name in grant.services:
        if table := copied.get(name, {}) | FIXED_OPTIONS.get(name, {}):
            copied[name] = table
    return {"node": node, **copied, "endpoints": grant.endpoints, "processes": msgspec.to_builtins(grant.processes)}


def _without(tables: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The tables but for one option, and but for those that it leaves empty."""
    name, *rest = path
    kept = dict(tables)
    inner = kept.pop(name, None)
    if rest and inner is not None and (left := _without(inner, rest)):
        kept[name] = left
    return kept
