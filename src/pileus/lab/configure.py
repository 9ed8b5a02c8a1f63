"""What the hosts of a lab are told: pileus.toml, secrets, clouds.yaml."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pileus.kernel.config import ConfigError, over
from pileus.kernel.config.writer import to_toml
from pileus.kernel.process import secrets
from pileus.kernel.process.manifest import Role
from pileus.lab import addresses
from pileus.lab.layout import HostPlan, Layout
from pileus.services import discover

WHOLE_CLOUD_PORT = 8900
BRIDGE = "br-ex"
PHYSICAL_NETWORK = "public"
CLOUD = "lab"
"""The entry in clouds.yaml."""


class Engines(msgspec.Struct, frozen=True):
    """Where the engines are. bus, database: URLs with passwords; the database's has `{service}` for the schema. caches:
    `host:port`."""

    bus: tuple[str, ...] = ()
    database: str = ""
    caches: tuple[str, ...] = ()


def known_roles() -> dict[str, Role]:
    """Every role, by name."""
    return {role.name: role for service in discover() for role in service.roles}


def refuse_unknown_roles(layout: Layout) -> None:
    """Raises ConfigError."""
    known = known_roles()
    for host, plan in layout.hosts.items():
        if unknown := [role for role in plan.roles if role not in known]:
            raise ConfigError(f"host {host}: there is no role {unknown[0]!r}; there are {', '.join(sorted(known))}")


def pileus_toml(layout: Layout, host: str, *, cloud: str, engines: Engines) -> str:
    """A host's configuration file."""
    plan = layout.hosts[host]
    own = addresses.management(layout, host)
    tables: dict[str, Any] = {
        "node": {"host": host, "cloud": cloud, "listen": "0.0.0.0", "port": WHOLE_CLOUD_PORT},
        "network": _network(layout, host),
        "compute": {"agent": {"host_ip": own}},
    }
    if plan.is_whole_cloud:
        tables["node"]["public_url"] = front_url(layout)
    else:
        tables["node"] |= {"listen": own, "port": _identity_port(layout)}
        tables["bus"] = {"url": engines.bus[0] if len(engines.bus) == 1 else list(engines.bus)}
        tables["endpoints"] = _endpoints(layout)
        tables["processes"] = {
            name: {"roles": list(process.roles)} | ({} if process.port is None else {"port": process.port})
            for name, process in plan.processes.items()
        }
        if _needs_database(plan):
            tables["database"] = {name: engines.database.format(service=name) for name in schemas()}
            if engines.caches:
                tables["cache"] = {"servers": list(engines.caches)}
    return to_toml(over(tables, plan.tables))


def schemas() -> tuple[str, ...]:
    """The names of the database schemas: one a service, and that of hops."""
    return (*(service.type for service in discover() if service.db is not None), "trace")


def front_url(layout: Layout) -> str:
    """Where clients find identity, without its path."""
    port = WHOLE_CLOUD_PORT if next(iter(layout.hosts.values())).is_whole_cloud else _identity_port(layout)
    return f"http://{addresses.front(layout)}:{port}"


def clouds_yaml(layout: Layout, password: str) -> str:
    """For the stock client on the lab's client hosts."""
    auth = {
        "auth_url": front_url(layout) + "/identity/v3", "username": "admin", "password": password,
        "project_name": "admin", "user_domain_id": "default", "project_domain_id": "default",
    }
    entry = {"auth": auth, "region_name": "RegionOne", "identity_api_version": 3}
    return yaml.safe_dump({"clouds": {CLOUD: entry}}, sort_keys=False)


def write_secrets(layout: Layout, state_dirs: Mapping[str, Path]) -> None:
    """Give controllers the cloud's key, and hosts of agents the few secrets that they need."""
    key = os.urandom(secrets.KEY_BYTES)
    known = known_roles()
    for host, state_dir in state_dirs.items():
        plan = layout.hosts[host]
        if _needs_database(plan):
            secrets.write_private(state_dir / secrets.KEY_FILE, key)
        else:
            needed = {name: secrets.derived(key, name) for role in plan.roles for name in known[role].secrets}
            secrets.write_private(state_dir / secrets.FILE, json.dumps(needed, indent=2).encode())


def _needs_database(plan: HostPlan) -> bool:
    known = known_roles()
    return any(known[role].needs_db for role in plan.roles)


def _identity_port(layout: Layout) -> int:
    return api_ports(layout).get("identity", WHOLE_CLOUD_PORT)


def api_ports(layout: Layout) -> dict[str, int]:
    """API (`compute`, for the role `compute-api`) -> its port."""
    return {
        role.removesuffix("-api"): process.port
        for plan in layout.hosts.values() for process in plan.processes.values() for role in process.roles
        if role.endswith("-api") and process.port is not None
    }


def _endpoints(layout: Layout) -> dict[str, str]:
    ports = api_ports(layout)
    found = {}
    for service in discover():
        if (port := ports.get(service.type)) is not None:
            where = addresses.front(layout)
            if not layout.with_engine("keepalived"):
                where = addresses.management(layout, layout.with_role(f"{service.type}-api")[0])
            found[service.type] = f"http://{where}:{port}/{service.path.strip('/')}"
    return found


def _network(layout: Layout, host: str) -> dict[str, Any]:
    nics = layout.hosts[host].nics
    table: dict[str, Any] = {"physical_networks": {}, "external_bridges": {}}
    if nics[0] == "external":  # the card carries the host's address, so it is in a bridge that has it
        table["physical_networks"] = {PHYSICAL_NETWORK: BRIDGE}
    elif "external" in nics:
        table["physical_networks"] = {PHYSICAL_NETWORK: f"eth{nics.index('external')}"}
    if "tunnel" in nics:
        table["tunnel_ip"] = addresses.of_host(layout, host, "tunnel")
    return table
