"""Types of body fields that several resources share, and how values look in answers."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from pileus.kernel.errors import BadRequest

MAX_DB_INT = 0x7FFFFFFF

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Description = Annotated[str, msgspec.Meta(max_length=255)]
Uuid = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$")]
Text255 = Annotated[str, msgspec.Meta(max_length=255)]
Flag = bool | str | int
Number = int | str

_METADATA_KEY = re.compile(r"^[a-zA-Z0-9\-_:. ]{1,255}$")
_INTEGER = re.compile(r"^-?[0-9]{1,10}$")


def name(text: str, field: str = "name") -> str:
    """A name: printable, without spaces at its ends."""
    if text != text.strip() or not text.isprintable():
        raise BadRequest(
            f"Invalid input for field/attribute {field}. Value: {text[:80]}. "
            "It has unprintable characters or spaces at its ends."
        )
    return text


def flag(value: Flag, field: str) -> bool:
    """A boolean as clients write them."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in ("true", "1", "on", "yes", "y", "t"):
        return True
    if word in ("false", "0", "off", "no", "n", "f"):
        return False
    raise BadRequest(f"Invalid input for field/attribute {field}. Value: {value}. It is not a boolean.")


def _out_of_place(field: str, value: Number, reason: str) -> BadRequest:
    return BadRequest(f"Invalid input for field/attribute {field}. Value: {value}. {reason}")


def number(value: Number, field: str, *, minimum: int = 0, maximum: int = MAX_DB_INT) -> int:
    """An integer, which clients may send as text."""
    if isinstance(value, bool) or (isinstance(value, str) and not _INTEGER.match(value)):
        raise _out_of_place(field, value, f"'{value}' is not of type 'integer'")
    found = int(value)
    if found < minimum:
        raise _out_of_place(field, value, f"{value} is less than the minimum of {minimum}")
    if found > maximum:
        raise _out_of_place(field, value, f"{value} is greater than the maximum of {maximum}")
    return found


def metadata(items: dict[str, str], field: str = "metadata") -> dict[str, str]:
    """Metadata as users may set it: plain keys, values of at most 255 characters."""
    for key, value in items.items():
        if not _METADATA_KEY.match(key):
            raise BadRequest(f"Invalid input for field/attribute {field}. The key '{key[:80]}' is not allowed.")
        if len(value) > 255:
            raise BadRequest(f"Invalid input for field/attribute {key}. The value is longer than 255 characters.")
    return items


def time(value: datetime | None) -> str | None:
    """A time as most of compute shows it: seconds and a Z."""
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%SZ")


def exact_time(value: datetime | None) -> str | None:
    """A time as compute's operator resources show it: microseconds and no zone."""
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%S.%f")


def links(root: str, collection: str, item_id: str) -> list[dict[str, str]]:
    """The two links of an item. `root` is the service's root."""
    return [
        {"rel": "self", "href": f"{root}/v2.1/{collection}/{item_id}"},
        {"rel": "bookmark", "href": f"{root}/{collection}/{item_id}"},
    ]


def bookmark(root: str, collection: str, item_id: str) -> list[dict[str, str]]:
    """The link of something that is only referred to."""
    return [{"rel": "bookmark", "href": f"{root}/{collection}/{item_id}"}]


def given(value: Any) -> bool:
    """Whether an optional field was in the body."""
    return value is not msgspec.UNSET
