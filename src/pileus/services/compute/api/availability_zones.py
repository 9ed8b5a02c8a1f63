"""Availability zones: those that aggregates make, and the default one."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.services.compute.api import values
from pileus.services.compute.db import aggregates, services
from pileus.services.compute.db.services import ServiceRow

Zones = dict[str, list[ServiceRow]]


def _read(tx: Tx) -> tuple[Zones, list[ServiceRow]]:
    """Compute services by zone, and the services that belong to none."""
    zones: Zones = {}
    by_host, others = aggregates.zones_by_host(tx), []
    for row in services.all_rows(tx):
        if row.binary == services.COMPUTE:
            zones.setdefault(by_host.get(row.host, aggregates.DEFAULT_ZONE), []).append(row)
        else:
            others.append(row)
    return zones, others


async def list_zones(call: Call[None]) -> dict[str, Any]:
    """A zone is available when one of its hosts takes servers."""
    zones, _ = await call.rt.db.read(_read)
    now = call.rt.clock.now()
    shown = []
    for name, rows in sorted(zones.items()):
        usable = any(not row.disabled and row.is_up(now) for row in rows)
        shown.append({"zoneName": name, "zoneState": {"available": usable}, "hosts": None})
    return {"availabilityZoneInfo": shown}


async def list_zones_in_detail(call: Call[None]) -> dict[str, Any]:
    """With hosts and services, and the zone of the control plane."""
    zones, others = await call.rt.db.read(_read)
    now = call.rt.clock.now()
    shown = []
    for name, rows in [(aggregates.INTERNAL_ZONE, others), *sorted(zones.items())]:
        hosts: dict[str, Any] = {}
        for row in rows:
            hosts.setdefault(row.host, {})[row.binary] = {
                "available": row.is_up(now), "active": not row.disabled,
                "updated_at": values.exact_time(row.last_seen_at),
            }
        usable = any(not row.disabled and row.is_up(now) for row in rows)
        shown.append({"zoneName": name, "zoneState": {"available": usable}, "hosts": hosts})
    return {"availabilityZoneInfo": shown}


_RULE = "os_compute_api:os-availability-zone"

ROUTES = (
    Route(method="GET", path="/v2.1/os-availability-zone", handler=list_zones, policy=f"{_RULE}:list"),
    Route(method="GET", path="/v2.1/os-availability-zone/detail", handler=list_zones_in_detail,
          policy=f"{_RULE}:detail"),
)
