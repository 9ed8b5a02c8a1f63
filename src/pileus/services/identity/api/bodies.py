"""Bodies of identity's resources: known fields are checked against a struct, all others are kept as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from pileus.services.identity.errors import InvalidInput

S = TypeVar("S", bound=msgspec.Struct)

Unset = msgspec.UnsetType
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Description = Annotated[str, msgspec.Meta(max_length=65_535)]
MAX_TAGS = 80
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^,/]+$")]
Tags = Annotated[list[Tag], msgspec.Meta(max_length=MAX_TAGS)]
Fields = dict[str, Any]

NOT_EXTRA = frozenset({"id", "links", "is_admin", "password_expires_at", "tags", "options"})
IMMUTABLE = "immutable"


def split(body: Fields, kind: type[S]) -> tuple[S, Fields]:
    """The known fields as a struct, and the rest. 400 for a known field with a wrong value."""
    known = {name: value for name, value in body.items() if name in kind.__struct_fields__}
    extra = {name: v for name, v in body.items() if name not in kind.__struct_fields__ and name not in NOT_EXTRA}
    try:
        value = msgspec.convert(known, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(reason=f"Invalid input: {error}") from None
    name = getattr(value, "name", None)
    if isinstance(name, str) and not name.strip():
        raise InvalidInput(reason="Invalid input: a name must not be blank - at `$.name`")
    return value, extra


def given(value: msgspec.Struct, *names: str) -> Fields:
    """The fields that the client set."""
    return {name: field for name in names if (field := getattr(value, name)) is not msgspec.UNSET}


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Fields:
    """Stored values with changes over them."""
    return {**old, **new}


def merged_options(old: Mapping[str, Any], new: Mapping[str, Any] | Unset | None) -> Fields:
    """Options with changes over them; one set to null goes."""
    if new is msgspec.UNSET or new is None:
        return dict(old)
    assert isinstance(new, Mapping)
    return {name: value for name, value in {**old, **new}.items() if value is not None}


def check_options(options: Mapping[str, Any] | Unset | None, allowed: Mapping[str, type | tuple[type, ...]]) -> None:
    """400 for options that the resource does not have, or of a wrong type."""
    if options is msgspec.UNSET or options is None:
        return
    assert isinstance(options, Mapping)
    for name, value in options.items():
        if name not in allowed:
            raise InvalidInput(reason=f"Invalid input: unknown option {name[:64]!r} - at `$.options`")
        if value is not None and not isinstance(value, allowed[name]):
            raise InvalidInput(reason=f"Invalid input: wrong type of option {name[:64]!r} - at `$.options`")
