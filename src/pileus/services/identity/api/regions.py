"""/v3/regions: list, create, show, update, delete."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.bodies import Description, Fields, Unset, merged, split
from pileus.services.identity.api.listing import collection, filters, window
from pileus.services.identity.db import endpoints, regions
from pileus.services.identity.db.regions import Region
from pileus.services.identity.errors import AlreadyThere, InvalidInput, NotAllowed, ResourceNotFound

MAX_DEPTH = 16

RegionId = Annotated[str, msgspec.Meta(max_length=255)]


class CreateRegion(msgspec.Struct):
    id: RegionId | None = None
    description: Description | None = None
    parent_region_id: RegionId | None = None


class UpdateRegion(msgspec.Struct):
    description: Description | Unset | None = msgspec.UNSET
    parent_region_id: RegionId | Unset | None = msgspec.UNSET


async def list_regions(call: Call[None]) -> dict[str, Any]:
    """All regions."""
    asked = window(call)
    found = await call.rt.db.read(regions.listing, filters(call, {"parent_region_id": str}), asked)
    return collection(call, "regions", [views.region(call, row) for row in found], asked)


async def create_region(call: Call[Fields]) -> Reply:
    """A new region with the id of the body or of the path, else with one made here."""
    wanted, extra = split(call.body, CreateRegion)
    named = call.path.get("region_id")
    if named is not None and wanted.id not in (None, named):
        raise InvalidInput(reason="The region's id in the body is not the one in the path.")
    row = Region(
        id=named or wanted.id or call.rt.clock.new_hex_id(), parent_region_id=wanted.parent_region_id,
        description=wanted.description or "", extra=extra,
    )
    await call.rt.db.write(_insert, row)
    return Reply({"region": views.region(call, row)})


def _insert(tx: Tx, row: Region) -> None:
    if regions.get(tx, row.id) is not None:
        raise AlreadyThere(kind="region", id=row.id)
    if row.parent_region_id is not None:
        _find(tx, row.parent_region_id)
    regions.insert(tx, row)


async def show_region(call: Call[None]) -> dict[str, Any]:
    """One region."""
    return {"region": views.region(call, await call.rt.db.read(_find, call.path["region_id"]))}


async def update_region(call: Call[Fields]) -> dict[str, Any]:
    """Change a region; its id stays."""
    wanted, extra = split(call.body, UpdateRegion)
    row = await call.rt.db.write(_update, call.path["region_id"], wanted, extra)
    return {"region": views.region(call, row)}


def _update(tx: Tx, region_id: str, wanted: UpdateRegion, extra: Fields) -> Region:
    row = _find(tx, region_id)
    changes: Fields = {"extra": merged(row.extra, extra)}
    if wanted.description is not msgspec.UNSET:
        changes["description"] = wanted.description or ""
    if not isinstance(wanted.parent_region_id, msgspec.UnsetType):
        _check_not_below(tx, region_id, wanted.parent_region_id)
        changes["parent_region_id"] = wanted.parent_region_id
    regions.update(tx, region_id, changes)
    return _find(tx, region_id)


def _check_not_below(tx: Tx, region_id: str, parent_id: str | None) -> None:
    for _ in range(MAX_DEPTH):
        if parent_id is None:
            return
        if parent_id == region_id:
            break
        parent_id = _find(tx, parent_id).parent_region_id
    raise InvalidInput(reason="A region cannot be below itself.")


async def delete_region(call: Call[None]) -> None:
    """Delete a region that has neither regions below it nor endpoints."""
    await call.rt.db.write(_delete, call.path["region_id"])


def _delete(tx: Tx, region_id: str) -> None:
    _find(tx, region_id)
    if regions.has_children(tx, region_id) or endpoints.region_in_use(tx, region_id):
        raise NotAllowed(reason=f"unable to delete region {region_id} because it or its child regions have endpoints.")
    regions.delete(tx, region_id)


def _find(tx: Tx, region_id: str) -> Region:
    row = regions.get(tx, region_id)
    if row is None:
        raise ResourceNotFound(kind="region", id=region_id)
    return row


_ONE = "/v3/regions/{region_id}"
ROUTES = (
    Route(method="GET", path="/v3/regions", handler=list_regions, policy="identity:list_regions"),
    Route(method="POST", path="/v3/regions", handler=create_region, policy="identity:create_region", success=201,
          body=dict[str, Any], envelope="region"),
    Route(method="PUT", path=_ONE, handler=create_region, policy="identity:create_region", success=201,
          body=dict[str, Any], envelope="region"),
    Route(method="GET", path=_ONE, handler=show_region, policy="identity:get_region"),
    Route(method="PATCH", path=_ONE, handler=update_region, policy="identity:update_region", body=dict[str, Any],
          envelope="region"),
    Route(method="DELETE", path=_ONE, handler=delete_region, policy="identity:delete_region", success=204),
)
