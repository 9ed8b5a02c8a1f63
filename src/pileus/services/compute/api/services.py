"""Compute's services: who runs where, and whether operators let it work."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict
from pileus.kernel.http import Call, Reply, Route, versioned
from pileus.services.compute.api import queries, values
from pileus.services.compute.clients.placement import PlacementClient
from pileus.services.compute.db import aggregates, hypervisors, servers, services
from pileus.services.compute.db.services import ServiceRow
from pileus.services.compute.errors import ServiceNotFound


class HostBinary(msgspec.Struct, forbid_unknown_fields=True):
    host: values.Name
    binary: values.Name


class HostBinaryReason(msgspec.Struct, forbid_unknown_fields=True):
    host: values.Name
    binary: values.Name
    disabled_reason: values.Name


class HostBinaryForced(msgspec.Struct, forbid_unknown_fields=True):
    host: values.Name
    binary: values.Name
    forced_down: values.Flag = False


class UpdateService(msgspec.Struct, forbid_unknown_fields=True):
    status: Literal["enabled", "disabled"] | None = None
    disabled_reason: values.Name | None = None
    forced_down: versioned(values.Flag | msgspec.UnsetType, since="2.11") = msgspec.UNSET  # type: ignore[valid-type]


def _zone(row: ServiceRow, zones: dict[str, str]) -> str:
    if row.binary != services.COMPUTE:
        return aggregates.INTERNAL_ZONE
    return zones.get(row.host, aggregates.DEFAULT_ZONE)


def _view(row: ServiceRow, zones: dict[str, str], call: Call[Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.uuid if call.at_least("2.53") else row.id,
        "binary": row.binary, "host": row.host, "zone": _zone(row, zones),
        "status": "disabled" if row.disabled else "enabled",
        "state": "up" if row.is_up(call.rt.clock.now()) else "down",
        "updated_at": values.exact_time(row.last_seen_at), "disabled_reason": row.disabled_reason,
    }
    if call.at_least("2.11"):
        shown["forced_down"] = row.forced_down
    return shown


async def list_services(call: Call[None]) -> dict[str, Any]:
    """All, or those of a host or a name."""
    queries.only(call, "host", "binary")

    def read(tx: Tx) -> Any:
        rows = services.all_rows(tx, host=call.query.get("host"), binary=call.query.get("binary"))
        return rows, aggregates.zones_by_host(tx)

    rows, zones = await call.rt.db.read(read)
    return {"services": [_view(row, zones, call) for row in rows]}


async def update_service(call: Call[UpdateService]) -> dict[str, Any]:
    """Enable, disable or force down a compute service (2.53)."""
    body, changes = call.body, dict[str, Any]()
    if body.status is None and not values.given(body.forced_down):
        raise BadRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    if body.disabled_reason is not None and body.status != "disabled":
        raise BadRequest("Specifying disabled_reason requires that status is disabled.")
    if body.status is not None:
        changes |= {"disabled": body.status == "disabled", "disabled_reason": body.disabled_reason}
    if isinstance(body.forced_down, bool | str | int):
        changes["forced_down"] = values.flag(body.forced_down, "forced_down")

    def write(tx: Tx) -> Any:
        row = _by_id(tx, call.path["service_id"])
        if row.binary != services.COMPUTE:
            raise BadRequest(
                f"Updating a {row.binary} service is not supported. Only nova-compute services can be updated."
            )
        services.change(tx, row.uuid, **changes)
        return _by_id(tx, row.uuid), aggregates.zones_by_host(tx)

    row, zones = await call.rt.db.write(write)
    return {"service": _view(row, zones, call)}


def _by_id(tx: Tx, service_id: str) -> ServiceRow:
    row = services.get(tx, service_id)
    if row is None:
        raise ServiceNotFound(service_id=service_id[:255])
    return row


async def delete_service(call: Call[None]) -> Reply:
    """Forget a service. A compute service that has servers is kept.

    Its provider goes first: whatever ends this half-way, the service is still there to be deleted again, and a host
    that lives gets a provider again with its next reports.
    """
    provider = await call.rt.db.read(_provider_to_go, call.path["service_id"])
    if provider is not None:
        await call.rt.get(PlacementClient).delete_provider(provider)

    def write(tx: Tx) -> None:
        _provider_to_go(tx, call.path["service_id"])
        row = _by_id(tx, call.path["service_id"])
        if row.binary == services.COMPUTE:
            hypervisors.remove(tx, row.host)
        services.remove(tx, row.uuid)

    await call.rt.db.write(write)
    return Reply(None)


def _provider_to_go(tx: Tx, service_id: str) -> str | None:
    """The resource provider of a service that may be deleted, if it has one."""
    row = _by_id(tx, service_id)
    if row.binary != services.COMPUTE:
        return None
    if servers.of_host(tx, row.host):
        raise Conflict("Unable to delete compute service that is hosting instances. Migrate or delete the "
                       "instances first.")
    hypervisor = hypervisors.of_host(tx, row.host)
    return hypervisor.uuid if hypervisor else None


# -- the forms before 2.53 -------------------------------------------------------------------------------------------


async def enable(call: Call[HostBinary]) -> dict[str, Any]:
    """Take servers again."""
    await _change(call, disabled=False, disabled_reason=None)
    return {"service": {"host": call.body.host, "binary": call.body.binary, "status": "enabled"}}


async def disable(call: Call[HostBinary]) -> dict[str, Any]:
    """Take no new servers."""
    await _change(call, disabled=True)
    return {"service": {"host": call.body.host, "binary": call.body.binary, "status": "disabled"}}


async def disable_with_reason(call: Call[HostBinaryReason]) -> dict[str, Any]:
    """The same, and say why."""
    body = call.body
    await _change(call, disabled=True, disabled_reason=body.disabled_reason)
    return {"service": {
        "host": body.host, "binary": body.binary, "status": "disabled", "disabled_reason": body.disabled_reason,
    }}


async def force_down(call: Call[HostBinaryForced]) -> dict[str, Any]:
    """Count a service as down, whatever it reports."""
    forced = values.flag(call.body.forced_down, "forced_down")
    await _change(call, forced_down=forced)
    return {"service": {"host": call.body.host, "binary": call.body.binary, "forced_down": forced}}


async def _change(call: Call[Any], **changes: Any) -> None:
    host, binary = call.body.host, call.body.binary

    def write(tx: Tx) -> None:
        row = services.by_host(tx, host, binary)
        if row is None:
            raise ServiceNotFound(f"Could not find binary {binary} on host {host}.")
        services.change(tx, row.uuid, **changes)

    await call.rt.db.write(write)


_RULE = "os_compute_api:os-services"
_PATH = "/v2.1/os-services"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_services, policy=f"{_RULE}:list"),
    Route(method="PUT", path=_PATH + "/enable", handler=enable, policy=f"{_RULE}:update", body=HostBinary,
          until="2.52"),
    Route(method="PUT", path=_PATH + "/disable", handler=disable, policy=f"{_RULE}:update", body=HostBinary,
          until="2.52"),
    Route(method="PUT", path=_PATH + "/disable-log-reason", handler=disable_with_reason, policy=f"{_RULE}:update",
          body=HostBinaryReason, until="2.52"),
    Route(method="PUT", path=_PATH + "/force-down", handler=force_down, policy=f"{_RULE}:update",
          body=HostBinaryForced, since="2.11", until="2.52"),
    Route(method="PUT", path=_PATH + "/{service_id}", handler=update_service, policy=f"{_RULE}:update",
          body=UpdateService, since="2.53"),
    Route(method="DELETE", path=_PATH + "/{service_id}", handler=delete_service, policy=f"{_RULE}:delete",
          success=204),
)
