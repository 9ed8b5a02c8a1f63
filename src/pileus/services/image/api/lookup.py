"""Finding the image a request is about, and asking policy about it."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import Forbidden, MethodNotAllowed, RouteNotFound
from pileus.kernel.http import Call
from pileus.services.image.db import images, listing
from pileus.services.image.db.images import Image
from pileus.services.image.errors import ImageNotFound


def is_admin(call: Call[Any]) -> bool:
    """Whether the caller may see and own everything."""
    return call.allows("context_is_admin")


def visible_image(tx: Tx, call: Call[Any]) -> Image:
    """The image of the path. Raises `ImageNotFound` when there is none or the caller may not know of it."""
    image_id = call.path["image_id"]
    image = images.get(tx, image_id)
    if image is None or not (is_admin(call) or listing.is_visible(tx, image, call.context.project_id)):
        raise ImageNotFound(image_id=image_id)
    if not allows(call, "get_image", image):
        raise ImageNotFound(image_id=image_id)
    return image


def allows(call: Call[Any], rule: str, image: Image, **more: Any) -> bool:
    """Whether policy allows the caller `rule` on the image."""
    target = {"project_id": image.owner, "owner": image.owner, "visibility": image.visibility, "image_id": image.id}
    return call.allows(rule, **(target | more))


def enforce(call: Call[Any], rule: str, image: Image, **more: Any) -> None:
    """Raise `Forbidden`, naming the rule, unless `allows`."""
    if not allows(call, rule, image, **more):
        raise Forbidden(rule=rule)


def enforce_visibility(call: Call[Any], image: Image) -> None:
    """Whether the caller may give the image the visibility that it has."""
    rule = {"public": "publicize_image", "community": "communitize_image"}.get(image.visibility)
    if rule is not None:
        enforce(call, rule, image)


def refuse_empty_id(call: Call[Any]) -> None:
    """`/v2/images/` is an image without id, not the collection."""
    if call.request.scope["path"].endswith("/"):
        raise RouteNotFound()


async def without_id(call: Call[Any]) -> None:
    """Handler of methods that exist for one image only: 404 with an empty id, 405 on the collection."""
    refuse_empty_id(call)
    raise MethodNotAllowed()
