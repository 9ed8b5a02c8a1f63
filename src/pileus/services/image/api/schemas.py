"""/v2/schemas: what clients read to know the attributes."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http import ANY_TOKEN, Call, Route
from pileus.services.image.logic import schemas


async def image(call: Call[None]) -> dict[str, Any]:
    """The schema of one image."""
    return schemas.image_schema(call.rt.config)


async def images(call: Call[None]) -> dict[str, Any]:
    """The schema of a page of images."""
    return schemas.collection_schema("images", schemas.image_schema(call.rt.config), paged=True)


async def member(call: Call[None]) -> dict[str, Any]:
    """The schema of one member."""
    return schemas.member_schema()


async def members(call: Call[None]) -> dict[str, Any]:
    """The schema of a list of members."""
    return schemas.collection_schema("members", schemas.member_schema(), paged=False)


ROUTES = tuple(
    Route(method="GET", path=f"/v2/schemas/{handler.__name__}", handler=handler, policy=ANY_TOKEN)
    for handler in (image, images, member, members)
)
