"""What projects used in a period: hours of servers, processors, memory and disk."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route
from pileus.kernel.http.paging import next_url, parse_page
from pileus.services.compute.api import queries, values
from pileus.services.compute.db import usage
from pileus.services.compute.db.servers import Server

DEFAULT_PERIOD = timedelta(weeks=4)


async def list_usages(call: Call[None]) -> dict[str, Any]:
    """All projects."""
    found, start, stop, links = await _read(call, None)
    by_project: dict[str, list[Server]] = {}
    for server in found:
        by_project.setdefault(server.project_id, []).append(server)
    detailed = call.query.get("detailed") == "1"
    shown = [_sum(project, servers, start, stop, call, detailed) for project, servers in by_project.items()]
    return {"tenant_usages": shown} | ({"tenant_usages_links": links} if links else {})


async def show_usage(call: Call[None]) -> dict[str, Any]:
    """One project."""
    project_id = call.path["project_id"]
    call.enforce("os_compute_api:os-simple-tenant-usage:show", project_id=project_id)
    found, start, stop, links = await _read(call, project_id)
    shown = _sum(project_id, found, start, stop, call, True) if found else {}
    return {"tenant_usage": shown} | ({"tenant_usage_links": links} if links else {})


async def _read(
    call: Call[None], project_id: str | None
) -> tuple[list[Server], datetime, datetime, list[dict[str, str]]]:
    queries.only(call, "start", "end", "detailed", "limit", "marker")
    now = call.rt.clock.now()
    stop = queries.time(call.query.get("end"), "end") or now
    start = queries.time(call.query.get("start"), "start") or stop - DEFAULT_PERIOD
    if start >= stop:
        raise BadRequest("Invalid start time. The start time cannot occur after the end time.")
    page = parse_page(call.query)
    paged = call.at_least("2.40")
    found = await call.rt.db.read(
        usage.servers_between, start, stop, project_id=project_id, marker=page.marker if paged else None,
        limit=page.limit if paged else 100_000,
    )
    if found is None:
        raise BadRequest(f"marker [{page.marker}] not found")
    links = []
    if paged and page.asked_limit and len(found) == page.limit:
        path = f"/v2.1/os-simple-tenant-usage{'/' + project_id if project_id else ''}"
        links = [{"rel": "next", "href": next_url(call.base_url + path, call.query, found[-1].id)}]
    return found, start, min(stop, now), links


def _hours(server: Server, start: datetime, stop: datetime) -> float:
    begun = max(server.launched_at or stop, start)
    ended = min(server.terminated_at or stop, stop)
    return max(0.0, (ended - begun).total_seconds() / 3600)


def _sum(
    project_id: str, servers: list[Server], start: datetime, stop: datetime, call: Call[Any], detailed: bool
) -> dict[str, Any]:
    hours = [(server, _hours(server, start, stop)) for server in servers]
    shown: dict[str, Any] = {
        "tenant_id": project_id, "start": values.exact_time(start), "stop": values.exact_time(stop),
        "total_hours": sum(h for _, h in hours),
        "total_vcpus_usage": sum(h * server.vcpus for server, h in hours),
        "total_memory_mb_usage": sum(h * server.ram_mib for server, h in hours),
        "total_local_gb_usage": sum(h * (server.flavor.root_gib + server.flavor.ephemeral_gib) for server, h in hours),
    }
    if detailed:
        shown["server_usages"] = [_one(server, h, call.rt.clock.now()) for server, h in hours]
    return shown


def _one(server: Server, hours: float, now: datetime) -> dict[str, Any]:
    ended = server.terminated_at
    return {
        "instance_id": server.id, "name": server.name, "tenant_id": server.project_id, "flavor": server.flavor.name,
        "hours": hours, "vcpus": server.vcpus, "memory_mb": server.ram_mib,
        "local_gb": server.flavor.root_gib + server.flavor.ephemeral_gib,
        "state": "terminated" if ended else server.vm_state, "started_at": values.exact_time(server.launched_at),
        "ended_at": values.exact_time(ended),
        "uptime": int(((ended or now) - (server.launched_at or now)).total_seconds()),
    }


_RULE = "os_compute_api:os-simple-tenant-usage"
_PATH = "/v2.1/os-simple-tenant-usage"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_usages, policy=f"{_RULE}:list"),
    Route(method="GET", path=_PATH + "/{project_id}", handler=show_usage, policy=f"{_RULE}:show"),
)
