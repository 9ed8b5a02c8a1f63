"""/v3/endpoints: list, create, show, update, delete."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.bodies import Fields, Id, Unset, given, merged, split
from pileus.services.identity.api.listing import collection, filters, window
from pileus.services.identity.db import endpoints, regions, services
from pileus.services.identity.db.endpoints import Endpoint
from pileus.services.identity.errors import InvalidInput, ResourceNotFound
from pileus.services.identity.logic.catalog import UnknownPlaceholder, check_template

Interface = Literal["public", "internal", "admin"]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048, pattern=r"^[a-zA-Z0-9+.-]+:\S+$")]
Name = Annotated[str, msgspec.Meta(max_length=255)]


class CreateEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    """`region` is the old name of `region_id`."""

    service_id: Id
    interface: Interface
    url: Url
    region_id: Name | None = None
    region: Name | None = None
    name: Name | None = None
    enabled: bool = True


class UpdateEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    service_id: Id | Unset = msgspec.UNSET
    interface: Interface | Unset = msgspec.UNSET
    url: Url | Unset = msgspec.UNSET
    region_id: Name | Unset | None = msgspec.UNSET
    region: Name | Unset | None = msgspec.UNSET
    name: Name | Unset | None = msgspec.UNSET
    enabled: bool | Unset = msgspec.UNSET


async def list_endpoints(call: Call[None]) -> dict[str, Any]:
    """All endpoints of the catalogue."""
    allowed = {"interface": str, "service_id": str, "region_id": str, "enabled": bool}
    asked = window(call)
    found = await call.rt.db.read(endpoints.listing, filters(call, allowed), asked)
    return collection(call, "endpoints", [views.endpoint(call, row) for row in found], asked)


async def create_endpoint(call: Call[Fields]) -> Reply:
    """A new endpoint."""
    wanted, extra = split(call.body, CreateEndpoint)
    _check_url(wanted.url)
    row = Endpoint(
        id=call.rt.clock.new_hex_id(), service_id=wanted.service_id, region_id=wanted.region_id or wanted.region,
        interface=wanted.interface, url=wanted.url, name=wanted.name, enabled=wanted.enabled, extra=extra,
    )
    await call.rt.db.write(_insert, row)
    return Reply({"endpoint": views.endpoint(call, row)})


def _insert(tx: Tx, row: Endpoint) -> None:
    _check_refers(tx, row.service_id, row.region_id)
    endpoints.insert(tx, row)


async def show_endpoint(call: Call[None]) -> dict[str, Any]:
    """One endpoint."""
    return {"endpoint": views.endpoint(call, await call.rt.db.read(_find, call.path["endpoint_id"]))}


async def update_endpoint(call: Call[Fields]) -> dict[str, Any]:
    """Change an endpoint."""
    wanted, extra = split(call.body, UpdateEndpoint)
    if isinstance(wanted.url, str):
        _check_url(wanted.url)
    row = await call.rt.db.write(_update, call.path["endpoint_id"], wanted, extra)
    return {"endpoint": views.endpoint(call, row)}


def _update(tx: Tx, endpoint_id: str, wanted: UpdateEndpoint, extra: Fields) -> Endpoint:
    row = _find(tx, endpoint_id)
    changes = given(wanted, "service_id", "interface", "url", "region_id", "name", "enabled")
    if wanted.region is not msgspec.UNSET and wanted.region_id is msgspec.UNSET:
        changes["region_id"] = wanted.region
    _check_refers(tx, changes.get("service_id"), changes.get("region_id"))
    endpoints.update(tx, endpoint_id, changes | {"extra": merged(row.extra, extra)})
    return _find(tx, endpoint_id)


async def delete_endpoint(call: Call[None]) -> None:
    """Delete an endpoint."""
    await call.rt.db.write(_delete, call.path["endpoint_id"])


def _delete(tx: Tx, endpoint_id: str) -> None:
    _find(tx, endpoint_id)
    endpoints.delete(tx, endpoint_id)


def _find(tx: Tx, endpoint_id: str) -> Endpoint:
    row = endpoints.get(tx, endpoint_id)
    if row is None:
        raise ResourceNotFound(kind="endpoint", id=endpoint_id)
    return row


def _check_refers(tx: Tx, service_id: str | None, region_id: str | None) -> None:
    if service_id is not None and services.get(tx, service_id) is None:
        raise InvalidInput(reason=f"Could not find service: {service_id}.")
    if region_id is not None and regions.get(tx, region_id) is None:
        raise InvalidInput(reason=f"Could not find region: {region_id}.")


def _check_url(url: str) -> None:
    try:
        check_template(url)
    except UnknownPlaceholder as error:
        raise InvalidInput(reason=f"The url names an unknown substitution: {error}.") from None


_ONE = "/v3/endpoints/{endpoint_id}"
ROUTES = (
    Route(method="GET", path="/v3/endpoints", handler=list_endpoints, policy="identity:list_endpoints"),
    Route(method="POST", path="/v3/endpoints", handler=create_endpoint, policy="identity:create_endpoint", success=201,
          body=dict[str, Any], envelope="endpoint"),
    Route(method="GET", path=_ONE, handler=show_endpoint, policy="identity:get_endpoint"),
    Route(method="PATCH", path=_ONE, handler=update_endpoint, policy="identity:update_endpoint", body=dict[str, Any],
          envelope="endpoint"),
    Route(method="DELETE", path=_ONE, handler=delete_endpoint, policy="identity:delete_endpoint", success=204),
)
