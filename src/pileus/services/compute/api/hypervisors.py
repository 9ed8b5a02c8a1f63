"""Hypervisors, as their agents last reported them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route
from pileus.kernel.http.paging import next_url, parse_page
from pileus.services.compute.api import queries
from pileus.services.compute.db import hypervisors, servers, services
from pileus.services.compute.db.hypervisors import Hypervisor
from pileus.services.compute.db.servers import Server
from pileus.services.compute.db.services import ServiceRow
from pileus.services.compute.errors import HypervisorNotFound


class Seen(msgspec.Struct, frozen=True):
    """A hypervisor with its service and its servers."""

    hypervisor: Hypervisor
    service: ServiceRow | None
    servers: list[Server]


def _read(tx: Tx, with_servers: bool) -> list[Seen]:
    by_host = {row.host: row for row in services.all_rows(tx, binary=services.COMPUTE)}
    found = []
    for item in hypervisors.all_rows(tx):
        placed = servers.of_host(tx, item.host) if with_servers else []
        found.append(Seen(item, by_host.get(item.host), placed))
    return found


def _id(seen: Seen, call: Call[Any]) -> Any:
    return seen.hypervisor.uuid if call.at_least("2.53") else seen.hypervisor.id


def _brief(seen: Seen, call: Call[Any]) -> dict[str, Any]:
    service = seen.service
    return {
        "id": _id(seen, call),
        "hypervisor_hostname": seen.hypervisor.report.hypervisor_hostname,
        "state": "up" if service and service.is_up(call.rt.clock.now()) else "down",
        "status": "disabled" if service is None or service.disabled else "enabled",
    }


def _full(seen: Seen, call: Call[Any]) -> dict[str, Any]:
    report, service = seen.hypervisor.report, seen.service
    shown = _brief(seen, call) | {
        "hypervisor_type": report.hypervisor_type,
        "hypervisor_version": report.hypervisor_version,
        "host_ip": report.host_ip,
        "service": {
            "id": (service.uuid if call.at_least("2.53") else service.id) if service else None,
            "host": report.host, "disabled_reason": service.disabled_reason if service else None,
        },
    }
    if call.at_least("2.88"):
        return shown | {"uptime": _uptime(seen, call)}
    cpu = {
        "arch": report.cpu.arch, "model": report.cpu.model, "vendor": report.cpu.vendor,
        "features": list(report.cpu.features),
        "topology": {"sockets": report.cpu.sockets, "cores": report.cpu.cores, "threads": report.cpu.threads},
    }
    shown["cpu_info"] = cpu if call.at_least("2.28") else json.dumps(cpu)
    return shown | _usage(seen)


def _usage(seen: Seen) -> dict[str, int]:
    report = seen.hypervisor.report
    ram = sum(server.ram_mib for server in seen.servers)
    disk = sum(server.flavor.root_gib + server.flavor.ephemeral_gib for server in seen.servers)
    return {
        "vcpus": report.vcpus, "vcpus_used": sum(server.vcpus for server in seen.servers),
        "memory_mb": report.ram_mib, "memory_mb_used": ram, "free_ram_mb": report.ram_mib - ram,
        "local_gb": report.disk_gib, "local_gb_used": disk, "free_disk_gb": report.disk_gib - disk,
        "disk_available_least": report.disk_free_gib, "running_vms": len(seen.servers),
        "current_workload": sum(1 for server in seen.servers if server.task_state is not None),
    }


def _uptime(seen: Seen, call: Call[Any]) -> str | None:
    """How long the host's agent has been up, in words; None when the host is down."""
    if seen.service is None or not seen.service.is_up(call.rt.clock.now()):
        return None
    started = queries.time(seen.hypervisor.report.started_at or None, "started_at")
    if started is None:
        return None
    minutes = int((call.rt.clock.now() - started).total_seconds() // 60)
    return f"up {minutes // 1440} days, {minutes // 60 % 24:02}:{minutes % 60:02}, {len(seen.servers)} servers"


def _with_servers(shown: dict[str, Any], seen: Seen) -> dict[str, Any]:
    if seen.servers:
        shown["servers"] = [{"name": server.name, "uuid": server.id} for server in seen.servers]
    return shown


async def list_hypervisors(call: Call[None]) -> dict[str, Any]:
    """Names and states."""
    return await _list(call, _brief, "os-hypervisors", with_servers=False)


async def list_hypervisors_in_detail(call: Call[None]) -> dict[str, Any]:
    """Everything."""
    return await _list(call, _full, "os-hypervisors/detail", with_servers=True)


async def _list(
    call: Call[None], view: Callable[[Seen, Call[Any]], dict[str, Any]], path: str, *, with_servers: bool
) -> dict[str, Any]:
    queries.only(call, "limit", "marker", "hypervisor_hostname_pattern", "with_servers", since="2.53")
    show_servers = call.at_least("2.53") and bool(queries.boolean(call.query.get("with_servers"), "with_servers"))
    found = await call.rt.db.read(_read, with_servers or show_servers)
    pattern = call.query.get("hypervisor_hostname_pattern") if call.at_least("2.53") else None
    if pattern is not None:
        found = [seen for seen in found if pattern in seen.hypervisor.report.hypervisor_hostname]
        if not found:
            raise HypervisorNotFound(hypervisor_id=pattern[:255])
    links: list[dict[str, str]] = []
    if call.at_least("2.33"):
        found, links = _page(call, found, path)
    shown = [view(seen, call) for seen in found]
    if show_servers:
        shown = [_with_servers(item, seen) for item, seen in zip(shown, found, strict=True)]
    return {"hypervisors": shown} | ({"hypervisors_links": links} if links else {})


def _page(call: Call[None], found: list[Seen], path: str) -> tuple[list[Seen], list[dict[str, str]]]:
    page = parse_page(call.query)
    if page.marker is not None:
        ids = [str(_id(seen, call)) for seen in found]
        if page.marker not in ids:
            raise BadRequest(f"marker [{page.marker[:80]}] not found")
        found = found[ids.index(page.marker) + 1 :]
    if len(found) <= page.limit:
        return found, []
    found = found[: page.limit]
    href = next_url(f"{call.base_url}/v2.1/{path}", call.query, str(_id(found[-1], call)))
    return found, [{"rel": "next", "href": href}]


async def _one(call: Call[None]) -> Seen:
    wanted = call.path["hypervisor_id"]
    for seen in await call.rt.db.read(_read, True):
        if str(_id(seen, call)) == wanted:
            return seen
    raise HypervisorNotFound(hypervisor_id=wanted[:255])


async def show_hypervisor(call: Call[None]) -> dict[str, Any]:
    """One."""
    queries.only(call, "with_servers", since="2.53")
    seen = await _one(call)
    shown = _full(seen, call)
    if call.at_least("2.53") and queries.boolean(call.query.get("with_servers"), "with_servers"):
        shown = _with_servers(shown, seen)
    return {"hypervisor": shown}


async def show_uptime(call: Call[None]) -> dict[str, Any]:
    """How long its host is up."""
    seen = await _one(call)
    uptime = _uptime(seen, call)
    if uptime is None:
        raise BadRequest(f"Service of host {seen.hypervisor.host} is down, so its uptime is not known.")
    return {"hypervisor": _brief(seen, call) | {"uptime": uptime}}


async def statistics(call: Call[None]) -> dict[str, Any]:
    """Sums over all hypervisors."""
    total: dict[str, int] = defaultdict(int)
    found = await call.rt.db.read(_read, True)
    for seen in found:
        for name, amount in _usage(seen).items():
            total[name] += amount
    names = _usage(found[0]) if found else ()
    return {"hypervisor_statistics": {"count": len(found)} | {name: total[name] for name in names}}


async def search(call: Call[None]) -> dict[str, Any]:
    """Those whose name holds a text (below 2.53)."""
    return {"hypervisors": [_brief(seen, call) for seen in await _matching(call)]}


async def list_servers(call: Call[None]) -> dict[str, Any]:
    """The same with their servers (below 2.53)."""
    return {"hypervisors": [_with_servers(_brief(seen, call), seen) for seen in await _matching(call)]}


async def _matching(call: Call[None]) -> list[Seen]:
    pattern = call.path["hypervisor_id"]
    found = [s for s in await call.rt.db.read(_read, True) if pattern in s.hypervisor.report.hypervisor_hostname]
    if not found:
        raise HypervisorNotFound(hypervisor_id=pattern[:255])
    return found


_RULE = "os_compute_api:os-hypervisors"
_PATH = "/v2.1/os-hypervisors"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_hypervisors, policy=f"{_RULE}:list"),
    Route(method="GET", path=_PATH + "/detail", handler=list_hypervisors_in_detail, policy=f"{_RULE}:list-detail"),
    Route(method="GET", path=_PATH + "/statistics", handler=statistics, policy=f"{_RULE}:statistics", until="2.87"),
    Route(method="GET", path=_PATH + "/{hypervisor_id}", handler=show_hypervisor, policy=f"{_RULE}:show"),
    Route(method="GET", path=_PATH + "/{hypervisor_id}/uptime", handler=show_uptime, policy=f"{_RULE}:uptime",
          until="2.87"),
    Route(method="GET", path=_PATH + "/{hypervisor_id}/search", handler=search, policy=f"{_RULE}:search", until="2.52"),
    Route(method="GET", path=_PATH + "/{hypervisor_id}/servers", handler=list_servers, policy=f"{_RULE}:servers",
          until="2.52"),
)
