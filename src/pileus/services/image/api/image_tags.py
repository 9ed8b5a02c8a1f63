"""/v2/images/{id}/tags/{tag}: add and remove one tag."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Route
from pileus.services.image.api.lookup import enforce, visible_image
from pileus.services.image.db import images
from pileus.services.image.logic import attributes


async def add_tag(call: Call[None]) -> None:
    """Adding a tag that is there already changes nothing."""
    await call.rt.db.write(_change, call, True)


async def remove_tag(call: Call[None]) -> None:
    """404 when the image has no such tag."""
    await call.rt.db.write(_change, call, False)


def _change(tx: Tx, call: Call[Any], add: bool) -> None:
    tag = call.path["tag"]
    image = visible_image(tx, call)
    enforce(call, "modify_image", image)
    if (tag in image.tags) == add:
        if add:
            return
        raise NotFound()
    tags = [*image.tags, tag] if add else [other for other in image.tags if other != tag]
    changed = attributes.set_value(call.rt.config, image, "tags", tags)
    if add:
        attributes.check_limits(call.rt.config, changed)
    images.replace(tx, image, changed)


ROUTES = (
    Route(method="PUT", path="/v2/images/{image_id}/tags/{tag:path}", handler=add_tag, policy="modify_image",
          success=204),
    Route(method="DELETE", path="/v2/images/{image_id}/tags/{tag:path}", handler=remove_tag, policy="modify_image",
          success=204),
)
