"""Flavors: list, show, and their management by administrators."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import ANY_TOKEN, Call, Reply, Route, versioned
from pileus.kernel.http.paging import next_url, parse_page, parse_sort
from pileus.services.compute.api import queries, values
from pileus.services.compute.db import flavors
from pileus.services.compute.db.flavors import Flavor, FlavorFilter
from pileus.services.compute.errors import FlavorExists, FlavorIdExists, FlavorNotFound

FLAVOR_ID = re.compile(r"^[a-zA-Z0-9._\- ]{1,255}$")
MAX_RXTX = 3.40282e38
QUERY = ("limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir")

Describing = Annotated[str, msgspec.Meta(max_length=65_535)]


class CreateFlavor(msgspec.Struct, forbid_unknown_fields=True):
    name: values.Name
    ram: values.Number
    vcpus: values.Number
    disk: values.Number
    id: str | int | None = None
    ephemeral: values.Number = msgspec.field(name="OS-FLV-EXT-DATA:ephemeral", default=0)
    swap: values.Number = 0
    rxtx_factor: float | str | None = None
    is_public: values.Flag = msgspec.field(name="os-flavor-access:is_public", default=True)
    description: versioned(Describing | None | msgspec.UnsetType, since="2.55") = msgspec.UNSET  # type: ignore[valid-type]


class UpdateFlavor(msgspec.Struct, forbid_unknown_fields=True):
    description: Describing | None


def view(flavor: Flavor, call: Call[Any]) -> dict[str, Any]:
    """A flavor in full."""
    shown: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "ram": flavor.ram_mib,
        "disk": flavor.root_gib,
        "vcpus": flavor.vcpus,
        "swap": flavor.swap_mib or (0 if call.at_least("2.75") else ""),
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gib,
        "OS-FLV-DISABLED:disabled": flavor.disabled,
        "os-flavor-access:is_public": flavor.is_public,
        "links": values.links(call.base_url, "flavors", flavor.id),
    }
    if not call.at_least("2.102"):
        shown["rxtx_factor"] = flavor.rxtx_factor
    if call.at_least("2.55"):
        shown["description"] = flavor.description
    if call.at_least("2.61") and call.allows("os_compute_api:os-flavor-extra-specs:index"):
        shown["extra_specs"] = flavor.extra_specs
    return shown


def brief(flavor: Flavor, call: Call[Any]) -> dict[str, Any]:
    """A flavor in the short list."""
    shown: dict[str, Any] = {
        "id": flavor.id, "name": flavor.name, "links": values.links(call.base_url, "flavors", flavor.id),
    }
    if call.at_least("2.55"):
        shown["description"] = flavor.description
    return shown


def reachable(tx: Tx, flavor_id: str, project_id: str | None) -> Flavor:
    """A flavor that the project may see (None: an administrator's request). Raises `FlavorNotFound`."""
    found = flavors.get_usable(tx, flavor_id, project_id)
    if found is None:
        raise FlavorNotFound(flavor_id=flavor_id)
    return found


def seen_as(call: Call[Any]) -> str | None:
    """The project whose eyes count: None for administrators, who see all."""
    return None if call.allows("context_is_admin") else call.context.project_id or ""


async def list_flavors(call: Call[None]) -> dict[str, Any]:
    """Names and links."""
    return await _list(call, brief, "flavors")


async def list_flavors_in_detail(call: Call[None]) -> dict[str, Any]:
    """Everything."""
    return await _list(call, view, "flavors/detail")


async def _list(call: Call[None], show: Any, path: str) -> dict[str, Any]:
    allowed = (*QUERY, "name") if call.at_least("2.102") else QUERY
    queries.only(call, *allowed)
    page = parse_page(call.query)
    sort = parse_sort(call.query, set(flavors.SORT_COLUMNS), (("flavorid", "asc"),))
    wanted, marker_id = _filter(call), page.marker

    def read(tx: Tx) -> list[Flavor]:
        marker = None
        if marker_id is not None:
            marker = flavors.get_usable(tx, marker_id, seen_as(call))
            if marker is None:
                raise BadRequest(f"marker [{marker_id[:80]}] not found")
        return flavors.page(tx, wanted, sort=sort, limit=page.limit, marker=marker)

    found = await call.rt.db.read(read)
    answer: dict[str, Any] = {"flavors": [show(flavor, call) for flavor in found]}
    if page.asked_limit and len(found) == page.limit:
        href = next_url(f"{call.base_url}/v2.1/{path}", call.query, found[-1].id)
        answer["flavors_links"] = [{"rel": "next", "href": href}]
    return answer


def _filter(call: Call[None]) -> FlavorFilter:
    admin = call.allows("context_is_admin")
    is_public: bool | None = True if admin else None
    asked = call.query.get("is_public")
    if admin and asked is not None:
        is_public = None if asked.strip().lower() == "none" else queries.boolean(asked, "is_public")
    return FlavorFilter(
        is_public=is_public,
        project_id=None if admin else call.context.project_id or "",
        min_ram_mib=queries.integer(call.query.get("minRam"), "minRam"),
        min_root_gib=queries.integer(call.query.get("minDisk"), "minDisk"),
        name=call.query.get("name") if call.at_least("2.102") else None,
    )


async def show_flavor(call: Call[None]) -> dict[str, Any]:
    """One flavor."""
    flavor = await call.rt.db.read(reachable, call.path["flavor_id"], seen_as(call))
    return {"flavor": view(flavor, call)}


async def create_flavor(call: Call[CreateFlavor]) -> dict[str, Any]:
    """A new flavor; its id is made up unless one is given."""
    flavor = _checked(call)

    def write(tx: Tx) -> None:
        if flavors.by_name(tx, flavor.name) is not None:
            raise FlavorExists(name=flavor.name)
        if flavors.get(tx, flavor.id) is not None:
            raise FlavorIdExists(flavor_id=flavor.id)
        flavors.insert(tx, flavor)

    await call.rt.db.write(write)
    return {"flavor": view(flavor, call)}


def _checked(call: Call[CreateFlavor]) -> Flavor:
    body = call.body
    flavor_id = call.rt.clock.new_id() if body.id in (None, "auto") else str(body.id)
    if not FLAVOR_ID.match(flavor_id) or flavor_id != flavor_id.strip():
        raise BadRequest(f"Invalid input for field/attribute id. Value: {flavor_id[:80]}.")
    return Flavor(
        id=flavor_id,
        name=values.name(body.name),
        vcpus=values.number(body.vcpus, "vcpus", minimum=1),
        ram_mib=values.number(body.ram, "ram", minimum=1),
        root_gib=values.number(body.disk, "disk"),
        ephemeral_gib=values.number(body.ephemeral, "OS-FLV-EXT-DATA:ephemeral"),
        swap_mib=values.number(body.swap, "swap"),
        rxtx_factor=_rxtx(call),
        is_public=values.flag(body.is_public, "os-flavor-access:is_public"),
        disabled=False,
        description=body.description if isinstance(body.description, str) else None,
        extra_specs={},
        created_at=call.rt.clock.now(),
        updated_at=None,
    )


def _rxtx(call: Call[CreateFlavor]) -> float:
    if call.body.rxtx_factor is None:
        return 1.0
    if call.at_least("2.102"):
        raise BadRequest("Invalid input: Additional properties are not allowed ('rxtx_factor' was unexpected)")
    try:
        factor = float(call.body.rxtx_factor)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= MAX_RXTX:
        raise BadRequest(f"Invalid input for field/attribute rxtx_factor. Value: {call.body.rxtx_factor}.")
    return factor


async def update_flavor(call: Call[UpdateFlavor]) -> dict[str, Any]:
    """Change the description, all that can change."""
    flavor_id = call.path["flavor_id"]

    def write(tx: Tx) -> Flavor:
        reachable(tx, flavor_id, None)
        flavors.change(tx, flavor_id, description=call.body.description)
        return reachable(tx, flavor_id, None)

    return {"flavor": view(await call.rt.db.write(write), call)}


async def delete_flavor(call: Call[None]) -> Reply:
    """Servers made with it keep their own copy."""
    if not await call.rt.db.write(flavors.remove, call.path["flavor_id"]):
        raise FlavorNotFound(flavor_id=call.path["flavor_id"])
    return Reply(None)


_MANAGE = "os_compute_api:os-flavor-manage"

ROUTES = (
    Route(method="GET", path="/v2.1/flavors", handler=list_flavors, policy=ANY_TOKEN),
    Route(method="GET", path="/v2.1/flavors/detail", handler=list_flavors_in_detail, policy=ANY_TOKEN),
    Route(method="GET", path="/v2.1/flavors/{flavor_id}", handler=show_flavor, policy=ANY_TOKEN),
    Route(method="POST", path="/v2.1/flavors", handler=create_flavor, policy=f"{_MANAGE}:create", body=CreateFlavor,
          envelope="flavor"),
    Route(method="PUT", path="/v2.1/flavors/{flavor_id}", handler=update_flavor, policy=f"{_MANAGE}:update",
          body=UpdateFlavor, envelope="flavor", since="2.55"),
    Route(method="DELETE", path="/v2.1/flavors/{flavor_id}", handler=delete_flavor, policy=f"{_MANAGE}:delete",
          success=202),
)
