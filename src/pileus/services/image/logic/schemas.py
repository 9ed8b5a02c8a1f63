"""The JSON schemas that clients read, and that attributes are checked against."""

from __future__ import annotations

import re
from typing import Any, Final

from pileus.services.image.config import ImageConfig
from pileus.services.image.errors import InvalidAttribute
from pileus.services.image.states import ALL_STATUSES, MEMBER_STATUSES, VISIBILITIES

UUID_PATTERN: Final = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
MAX_NAME_CHARS: Final = 255
MAX_VALUE_CHARS: Final = 65_535
MAX_INTEGER: Final = 2**31 - 1

_STRING: Final = {"type": "string"}
_LINKS: Final = (
    {"rel": "self", "href": "{self}"},
    {"rel": "enclosure", "href": "{file}"},
    {"rel": "describedby", "href": "{schema}"},
)


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _optional(kind: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": ["null", kind], "description": description, **more}


def _base(config: ImageConfig) -> dict[str, Any]:
    return {
        "id": _text("The image's id", pattern=UUID_PATTERN),
        "name": _optional("string", "A name for people", maxLength=MAX_NAME_CHARS),
        "status": _text("What state the image is in", enum=list(ALL_STATUSES), readOnly=True),
        "visibility": _text("Who may see the image", enum=list(VISIBILITIES)),
        "protected": {"type": "boolean", "description": "Whether the image cannot be deleted"},
        "os_hidden": {"type": "boolean", "description": "Whether default listings leave the image out"},
        "checksum": _optional("string", "MD5 of the data", maxLength=32, readOnly=True),
        "os_hash_algo": _optional("string", "Algorithm of os_hash_value", maxLength=64, readOnly=True),
        "os_hash_value": _optional("string", "Secure hash of the data, hexadecimal", maxLength=128, readOnly=True),
        "owner": _optional("string", "Project that owns the image", maxLength=MAX_NAME_CHARS),
        "size": _optional("integer", "Length of the data in bytes", readOnly=True),
        "virtual_size": _optional("integer", "Size of the disk that the data describes, in bytes", readOnly=True),
        "container_format": _optional(
            "string", "What is wrapped around the disk", enum=[None, *config.container_formats]
        ),
        "disk_format": _optional("string", "Format of the disk", enum=[None, *config.disk_formats]),
        "created_at": _text("When the image was registered", readOnly=True),
        "updated_at": _text("When the image last changed", readOnly=True),
        "tags": {
            "type": "array", "description": "Short labels", "items": {"type": "string", "maxLength": MAX_NAME_CHARS},
        },
        "min_ram": {"type": "integer", "description": "RAM in MiB that a server needs", "minimum": 0,
                    "maximum": MAX_INTEGER},
        "min_disk": {"type": "integer", "description": "Disk in GiB that a server needs", "minimum": 0,
                     "maximum": MAX_INTEGER},
        "self": _text("Path of this image", readOnly=True),
        "file": _text("Path of the image's data", readOnly=True),
        "schema": _text("Path of this schema", readOnly=True),
        "stores": _text("Stores that hold the data", readOnly=True),
    }


_KNOWN_CUSTOM: Final[dict[str, dict[str, Any]]] = {
    "kernel_id": _optional("string", "Image of the kernel to boot with", pattern=UUID_PATTERN),
    "ramdisk_id": _optional("string", "Image of the initial RAM disk to boot with", pattern=UUID_PATTERN),
    "instance_uuid": _text("Server that the image was made of"),
    "architecture": _text("Processor architecture of the system on the disk"),
    "os_distro": _text("Distribution of the system on the disk"),
    "os_version": _text("Version of the system on the disk"),
    "description": _text("A description for people"),
}


def image_properties(config: ImageConfig) -> dict[str, Any]:
    """All described attributes of an image."""
    known = {name: spec | {"is_base": False} for name, spec in _KNOWN_CUSTOM.items()}
    return _base(config) | known


def image_schema(config: ImageConfig) -> dict[str, Any]:
    """GET /v2/schemas/image."""
    return {
        "name": "image", "properties": image_properties(config), "additionalProperties": {"type": "string"},
        "links": list(_LINKS),
    }


def member_schema() -> dict[str, Any]:
    """GET /v2/schemas/member."""
    properties = {
        "member_id": _text("Project that the image is shared with"),
        "image_id": _text("The image's id", pattern=UUID_PATTERN),
        "created_at": _text("When the image was shared"),
        "updated_at": _text("When the membership last changed"),
        "status": _text("What the member says", enum=list(MEMBER_STATUSES)),
        "schema": _text("Path of this schema", readOnly=True),
    }
    return {"name": "member", "properties": properties}


def collection_schema(name: str, item: dict[str, Any], *, paged: bool) -> dict[str, Any]:
    """The schema of a list of items."""
    properties: dict[str, Any] = {name: {"type": "array", "items": item}, "schema": _STRING}
    links = [{"rel": "describedby", "href": "{schema}"}]
    if paged:
        properties |= {"first": _STRING, "next": _STRING}
        links = [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, *links]
    return {"name": name, "properties": properties, "links": links}


# -- checking --------------------------------------------------------------------------------------------------------

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,), "integer": (int,), "boolean": (bool,), "array": (list,), "null": (type(None),)
}
_CUSTOM: Final = {"type": "string", "maxLength": MAX_VALUE_CHARS}


def check_value(properties: dict[str, Any], name: str, value: Any) -> None:
    """Raise `InvalidAttribute` unless the value may be given to the attribute or custom property."""
    _check(properties.get(name, _CUSTOM), value, name)


def _check(spec: dict[str, Any], value: Any, name: str) -> None:
    wanted = spec["type"] if isinstance(spec["type"], list) else [spec["type"]]
    fits = any(isinstance(value, _TYPES[kind]) for kind in wanted) and not (
        isinstance(value, bool) and "boolean" not in wanted
    )
    if not fits:
        raise InvalidAttribute(reason=f"{_shown(value)} is not of type {' or '.join(wanted)} (in '{name}')")
    if "enum" in spec and value not in spec["enum"]:
        raise InvalidAttribute(reason=f"{_shown(value)} is not one of {spec['enum']} (in '{name}')")
    if isinstance(value, str):
        if len(value) > spec.get("maxLength", MAX_VALUE_CHARS):
            raise InvalidAttribute(reason=f"{_shown(value)} is too long (in '{name}')")
        if "pattern" in spec and not re.fullmatch(spec["pattern"].strip("^$"), value):
            raise InvalidAttribute(reason=f"{_shown(value)} does not match {spec['pattern']!r} (in '{name}')")
    elif isinstance(value, int) and not spec.get("minimum", value) <= value <= spec.get("maximum", value):
        raise InvalidAttribute(reason=f"{value} is out of range (in '{name}')")
    elif isinstance(value, list):
        for item in value:
            _check(spec["items"], item, name)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
