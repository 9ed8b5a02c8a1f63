"""Which attributes a user may set, and an image out of what the user gave."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from pileus.services.image.config import ImageConfig
from pileus.services.image.db.images import Image
from pileus.services.image.errors import InvalidAttribute, LimitExceeded, ReadOnlyAttribute, ReservedAttribute
from pileus.services.image.logic import schemas
from pileus.services.image.states import QUEUED, SHARED

READ_ONLY: Final = frozenset({
    "created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema",
    "stores", "os_hash_algo", "os_hash_value",
})
RESERVED: Final = frozenset({"location", "locations", "deleted", "deleted_at"})
"""`locations` above all: setting it would make the service read what a user names."""
RESERVED_PREFIX: Final = "os_glance"
SETTABLE: Final = frozenset({
    "name", "visibility", "owner", "disk_format", "container_format", "min_disk", "min_ram", "protected", "os_hidden",
    "tags",
})
"""Attributes of the image itself; every other name is a custom property."""


def check_settable(name: str) -> None:
    """Raise unless a user may name this attribute at all."""
    if name in READ_ONLY:
        raise ReadOnlyAttribute(name=name)
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise ReservedAttribute(name=name)


def set_value(config: ImageConfig, image: Image, name: str, value: Any) -> Image:
    """The image with one attribute or custom property changed."""
    schemas.check_value(schemas.image_properties(config), name, value)
    if name == "tags":
        return msgspec.structs.replace(image, tags=tuple(sorted(set(value))))
    if name in SETTABLE:
        return msgspec.structs.replace(image, **{name: value})
    if not 0 < len(name) <= schemas.MAX_NAME_CHARS:
        raise InvalidAttribute(reason=f"a custom property's name has 1 to {schemas.MAX_NAME_CHARS} characters")
    return msgspec.structs.replace(image, properties=image.properties | {name: value})


def new_image(config: ImageConfig, given: dict[str, Any], *, owner: str | None, image_id: str, now: datetime) -> Image:
    """An image from the body of a create request. Raises for everything that may not be given."""
    image = Image(
        id=image_id, name=None, status=QUEUED, visibility=SHARED, owner=owner, disk_format=None, container_format=None,
        min_disk=0, min_ram=0, protected=False, os_hidden=False, size=None, virtual_size=None, checksum=None,
        os_hash_algo=None, os_hash_value=None, store=None, store_key=None, upload_owner=None, upload_beat_at=None,
        created_at=now, updated_at=now,
    )
    for name, value in given.items():
        check_settable(name)
        if name == "id":
            schemas.check_value(schemas.image_properties(config), name, value)
            image = msgspec.structs.replace(image, id=value.lower())
        else:
            image = set_value(config, image, name, value)
    check_limits(config, image)
    return image


def check_limits(config: ImageConfig, image: Image) -> None:
    """Raise `LimitExceeded` when the image has more properties or tags than the operator allows."""
    for what, have, limit in (
        ("properties", len(image.properties), config.max_properties), ("tags", len(image.tags), config.max_tags)
    ):
        if 0 <= limit < have:
            raise LimitExceeded(what=what, wanted=have, limit=limit)
