"""/v3/services: list, create, show, update, delete."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.bodies import Description, Fields, Unset, given, merged, split
from pileus.services.identity.api.listing import collection, filters, window
from pileus.services.identity.db import endpoints, services
from pileus.services.identity.db.services import CatalogService
from pileus.services.identity.errors import ResourceNotFound

Type = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Name = Annotated[str, msgspec.Meta(max_length=255)]


class CreateService(msgspec.Struct, forbid_unknown_fields=True):
    type: Type
    name: Name | None = None
    description: Description | None = None
    enabled: bool = True


class UpdateService(msgspec.Struct, forbid_unknown_fields=True):
    type: Type | Unset = msgspec.UNSET
    name: Name | Unset | None = msgspec.UNSET
    description: Description | Unset | None = msgspec.UNSET
    enabled: bool | Unset = msgspec.UNSET


async def list_services(call: Call[None]) -> dict[str, Any]:
    """All services of the catalogue."""
    asked = window(call)
    found = await call.rt.db.read(services.listing, filters(call, {"type": str, "name": str, "enabled": bool}), asked)
    return collection(call, "services", [views.service(call, row) for row in found], asked)


async def create_service(call: Call[Fields]) -> Reply:
    """A new service."""
    wanted, extra = split(call.body, CreateService)
    row = CatalogService(
        id=call.rt.clock.new_hex_id(), type=wanted.type, name=wanted.name or "",
        description=wanted.description or "", enabled=wanted.enabled, extra=extra,
    )
    await call.rt.db.write(services.insert, row)
    return Reply({"service": views.service(call, row)})


async def show_service(call: Call[None]) -> dict[str, Any]:
    """One service."""
    return {"service": views.service(call, await call.rt.db.read(find_service, call.path["service_id"]))}


async def update_service(call: Call[Fields]) -> dict[str, Any]:
    """Change a service; one that is not enabled is in nobody's catalogue."""
    wanted, extra = split(call.body, UpdateService)
    row = await call.rt.db.write(_update, call.path["service_id"], wanted, extra)
    return {"service": views.service(call, row)}


def _update(tx: Tx, service_id: str, wanted: UpdateService, extra: Fields) -> CatalogService:
    row = find_service(tx, service_id)
    changes = given(wanted, "type", "enabled") | {"extra": merged(row.extra, extra)}
    changes |= {name: value or "" for name, value in given(wanted, "name", "description").items()}
    services.update(tx, service_id, changes)
    return find_service(tx, service_id)


async def delete_service(call: Call[None]) -> None:
    """Delete a service with its endpoints."""
    await call.rt.db.write(_delete, call.path["service_id"])


def _delete(tx: Tx, service_id: str) -> None:
    find_service(tx, service_id)
    endpoints.delete_of_service(tx, service_id)
    services.delete(tx, service_id)


def find_service(tx: Tx, service_id: str) -> CatalogService:
    """A service, or 404."""
    row = services.get(tx, service_id)
    if row is None:
        raise ResourceNotFound(kind="service", id=service_id)
    return row


_ONE = "/v3/services/{service_id}"
ROUTES = (
    Route(method="GET", path="/v3/services", handler=list_services, policy="identity:list_services"),
    Route(method="POST", path="/v3/services", handler=create_service, policy="identity:create_service", success=201,
          body=dict[str, Any], envelope="service"),
    Route(method="GET", path=_ONE, handler=show_service, policy="identity:get_service"),
    Route(method="PATCH", path=_ONE, handler=update_service, policy="identity:update_service", body=dict[str, Any],
          envelope="service"),
    Route(method="DELETE", path=_ONE, handler=delete_service, policy="identity:delete_service", success=204),
)
