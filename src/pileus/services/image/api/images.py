"""/v2/images: create, list, show, update, delete."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlencode

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import ANY_TOKEN, Call, Reply, Route
from pileus.kernel.quota import Quotas
from pileus.services.image.api.lookup import (
    enforce,
    enforce_visibility,
    is_admin,
    refuse_empty_id,
    visible_image,
    without_id,
)
from pileus.services.image.db import images, listing
from pileus.services.image.db.images import Image
from pileus.services.image.drivers.store.interface import StoreError
from pileus.services.image.errors import ForeignOwner, ImageExists, ImageProtected, OverQuota
from pileus.services.image.logic import attributes, patches, views
from pileus.services.image.logic import listing as queries
from pileus.services.image.quotas import IMAGE_COUNT
from pileus.services.image.states import SAVING
from pileus.services.image.worker.stores import Stores

log = logging.getLogger(__name__)


async def create_image(call: Call[dict[str, Any]]) -> Reply:
    """Register an image; its data comes later."""
    refuse_empty_id(call)
    rt, context = call.rt, call.context
    image = attributes.new_image(
        rt.config, call.body, owner=context.project_id, image_id=rt.clock.new_id(), now=rt.clock.now()
    )
    if image.owner != context.project_id and not is_admin(call):
        raise ForeignOwner(owner=image.owner)
    enforce(call, "add_image", image)
    enforce_visibility(call, image)
    await rt.db.write(_insert, image, rt.get(Quotas))
    headers = {
        "Location": f"{call.base_url}/v2/images/{image.id}",
        "OpenStack-image-store-ids": ",".join(rt.get(Stores).names),
    }
    return Reply(views.image_view(image), headers=headers)


def _insert(tx: Tx, image: Image, quotas: Quotas) -> None:
    if images.is_id_taken(tx, image.id):
        raise ImageExists(image_id=image.id)
    refuse_over_quota(tx, quotas, image.owner, IMAGE_COUNT, 1)
    images.insert(tx, image)


def refuse_over_quota(tx: Tx, quotas: Quotas, owner: str | None, name: str, wanted: int) -> None:
    """Raise `OverQuota` when the owner may not have `wanted` more. Images without owner count for nobody."""
    if owner is None:
        return
    for broken in quotas.exceeded(tx, owner, {name: wanted}):
        raise OverQuota(project_id=owner, **msgspec.structs.asdict(broken))


async def list_images(call: Call[None]) -> dict[str, Any]:
    """One page of the images that the caller may see."""
    refuse_empty_id(call)
    asked = queries.parse(call.query, call.rt.config)
    found, more = await call.rt.db.read(
        listing.page, asked, project_id=call.context.project_id, is_admin=is_admin(call)
    )
    body: dict[str, Any] = {"images": [views.image_view(image) for image in found], "first": _page_path(call, None)}
    if more:
        body["next"] = _page_path(call, found[-1].id)
    return body | {"schema": "/v2/schemas/images"}


def _page_path(call: Call[Any], marker: str | None) -> str:
    pairs = [(key, value) for key, value in call.query.multi_items() if key != "marker"]
    pairs += [("marker", marker)] if marker else []
    return "/v2/images" + (f"?{urlencode(pairs)}" if pairs else "")


async def show_image(call: Call[None]) -> dict[str, Any]:
    """One image."""
    return views.image_view(await call.rt.db.read(visible_image, call))


async def update_image(call: Call[None]) -> dict[str, Any]:
    """Apply a JSON patch, whole or not at all."""
    media_type = patches.check_media_type(call.request.headers.get("content-type", ""))
    try:
        document = msgspec.json.decode(call.raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Malformed request body: {error}") from None
    operations = patches.parse(document, media_type)
    return views.image_view(await call.rt.db.write(_patch, call, operations))


def _patch(tx: Tx, call: Call[Any], operations: list[patches.Operation]) -> Image:
    before = visible_image(tx, call)
    enforce(call, "modify_image", before)
    after = patches.apply(call.rt.config, before, operations, is_admin=is_admin(call))
    if after.visibility != before.visibility:
        enforce_visibility(call, after)
    if after == before:
        return before
    if after.owner != before.owner:
        refuse_over_quota(tx, call.rt.get(Quotas), after.owner, IMAGE_COUNT, 1)
    return images.replace(tx, before, after)


async def delete_image(call: Call[None]) -> None:
    """Delete an image, then its data. Data that cannot be freed now is freed by the reconciler."""
    image = await call.rt.db.write(_delete, call)
    # A running upload notices by itself and takes its bytes back.
    if image.store is not None and image.store_key is not None and image.status != SAVING:
        try:
            await call.rt.get(Stores)[image.store].delete(image.store_key)
        except (KeyError, StoreError) as error:
            log.warning("the data of image %s was not deleted yet: %s", image.id, error)


def _delete(tx: Tx, call: Call[Any]) -> Image:
    image = visible_image(tx, call)
    enforce(call, "delete_image", image)
    if image.protected:
        raise ImageProtected(image_id=image.id)
    images.remove(tx, image.id)
    return image


ROUTES = (
    # add_image speaks of the image's owner, which only the handler knows.
    Route(method="POST", path="/v2/images", handler=create_image, policy=ANY_TOKEN, success=201, body=dict[str, Any]),
    Route(method="GET", path="/v2/images", handler=list_images, policy="get_images"),
    Route(method="PATCH", path="/v2/images", handler=without_id, policy="get_images"),
    Route(method="PUT", path="/v2/images", handler=without_id, policy="get_images"),
    Route(method="DELETE", path="/v2/images", handler=without_id, policy="get_images"),
    Route(method="GET", path="/v2/images/{image_id}", handler=show_image, policy="get_image"),
    Route(method="PATCH", path="/v2/images/{image_id}", handler=update_image, policy="modify_image"),
    Route(method="DELETE", path="/v2/images/{image_id}", handler=delete_image, policy="delete_image", success=204),
)
