"""JSON patches: two media types, add/replace/remove of one attribute each.

Sources: RFC 6901 and 6902 for pointers and operations; the Image API v2 reference for the two media types (in the older
one an operation is an object with the operation as key: `{"add": "/name", "value": …}`).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from pileus.services.image.config import ImageConfig
from pileus.services.image.db.images import Image
from pileus.services.image.errors import (
    FixedFormat,
    InvalidPatch,
    NoSuchProperty,
    NotRemovable,
    OwnerFixed,
    PatchMediaType,
    PropertyPresent,
    ReadOnlyAttribute,
)
from pileus.services.image.logic import attributes
from pileus.services.image.states import QUEUED

OLD_TYPE: Final = "application/openstack-images-v2.0-json-patch"
NEW_TYPE: Final = "application/openstack-images-v2.1-json-patch"
MAX_OPERATIONS: Final = 1_000
_OPERATIONS: Final = ("add", "remove", "replace")
_BAD_ESCAPE: Final = re.compile(r"~[^01]|~$")


class Operation(msgspec.Struct, frozen=True):
    """One change. `must_be_new`: an add of something that is there already is a conflict (older media type)."""

    op: str
    name: str
    value: Any = None
    must_be_new: bool = False


def check_media_type(content_type: str) -> str:
    """The patch media type without parameters. Raises `PatchMediaType`, which names those accepted."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in (OLD_TYPE, NEW_TYPE):
        allowed = f"{OLD_TYPE}, {NEW_TYPE}"
        error = PatchMediaType(allowed=allowed)
        error.headers["Accept-Patch"] = allowed
        raise error
    return media_type


def parse(document: Any, media_type: str) -> list[Operation]:
    """The operations of a patch body. Raises `InvalidPatch`, or the refusal of an attribute that no user may name."""
    if not isinstance(document, list):
        raise InvalidPatch(reason="Request body must be a JSON array of operation objects.")
    if len(document) > MAX_OPERATIONS:
        raise InvalidPatch(reason=f"A patch has at most {MAX_OPERATIONS} operations.")
    return [_operation(raw, old=media_type == OLD_TYPE) for raw in document]


def _operation(raw: Any, *, old: bool) -> Operation:
    if not isinstance(raw, dict):
        raise InvalidPatch(reason="Operations must be JSON objects.")
    if old:
        named = [op for op in _OPERATIONS if op in raw]
        if len(named) != 1:
            words = ", ".join(_OPERATIONS)
            raise InvalidPatch(reason=f"Operation objects must contain exactly one member named one of: {words}.")
        op, pointer = named[0], raw[named[0]]
    else:
        for member in ("op", "path"):
            if member not in raw:
                raise InvalidPatch(reason=f"Unable to find '{member}' in JSON Schema change")
        op, pointer = raw["op"], raw["path"]
        if op not in _OPERATIONS:
            reason = f"Invalid operation: `{str(op)[:40]}`. It must be one of the following: {', '.join(_OPERATIONS)}."
            raise InvalidPatch(reason=reason)
    name = _attribute(pointer)
    if op != "remove" and "value" not in raw:
        raise InvalidPatch(reason=f'Operation "{op}" requires a member named "value".')
    return Operation(op, name, raw.get("value"), must_be_new=old)


def _attribute(pointer: Any) -> str:
    """The attribute that a JSON pointer names. Nothing below an attribute can be patched."""
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise InvalidPatch(reason=f'Pointer `{str(pointer)[:80]}` does not start with "/".')
    shown = pointer[:80]
    if "//" in pointer:
        raise InvalidPatch(reason=f'Pointer `{shown}` contains adjacent "/".')
    if pointer.endswith("/"):
        raise InvalidPatch(reason=f'Pointer `{shown}` end with "/".')
    if _BAD_ESCAPE.search(pointer):
        raise InvalidPatch(reason=f'Pointer `{shown}` contains "~" not part of a recognized escape sequence.')
    names = [part.replace("~1", "/").replace("~0", "~").strip() for part in pointer[1:].split("/")]
    if names[0] == "id":
        raise ReadOnlyAttribute(name="id")
    attributes.check_settable(names[0])
    if len(names) != 1:
        raise InvalidPatch(reason=f"Invalid JSON pointer for this resource: '{shown}'")
    return names[0]


def apply(config: ImageConfig, image: Image, operations: list[Operation], *, is_admin: bool) -> Image:
    """The image after the operations, in order. All of them or an error."""
    for operation in operations:
        image = _apply(config, image, operation, is_admin)
    attributes.check_limits(config, image)
    return image


def _apply(config: ImageConfig, image: Image, operation: Operation, is_admin: bool) -> Image:
    name = operation.name
    own = name in attributes.SETTABLE
    if operation.op == "remove":
        if own:
            raise NotRemovable(name=name)
        if name not in image.properties:
            raise NoSuchProperty(name=name)
        rest = {key: value for key, value in image.properties.items() if key != name}
        return msgspec.structs.replace(image, properties=rest)
    if name == "owner" and not is_admin:
        raise OwnerFixed()
    there = own or name in image.properties
    if operation.op == "replace" and not there:
        raise NoSuchProperty(name=name)
    if operation.op == "add" and there and operation.must_be_new:
        raise PropertyPresent(name=name)
    changed = attributes.set_value(config, image, name, operation.value)
    if name in ("disk_format", "container_format") and image.status != QUEUED:
        raise FixedFormat(name=name)
    return changed
