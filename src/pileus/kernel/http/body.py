"""Bodies: JSON into structs, with fields that exist only at some microversions."""

from __future__ import annotations

import functools
import typing
from typing import Annotated, Any, get_args, get_origin

import msgspec

from pileus.kernel.errors import BadRequest
from pileus.kernel.http.versions import Version


class _Range(typing.NamedTuple):
    since: Version | None
    until: Version | None


def versioned(kind: Any, *, since: str | None = None, until: str | None = None) -> Any:
    """Type of a field that exists from `since` to `until` only. Give the field the default `msgspec.UNSET`."""
    marks = {"since": since, "until": until}
    return Annotated[kind, msgspec.Meta(extra={"versions": marks})]


def decode(raw: bytes, kind: Any, *, envelope: str | None = None, version: Version | None = None) -> Any:
    """A body as an instance of `kind`. `BadRequest` says what is wrong and where."""
    if not raw:
        raise BadRequest("The request has no body; a JSON object is expected.")
    try:
        value = _decode_envelope(raw, kind, envelope) if envelope else msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid input: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Malformed request body: {error}") from None
    if version is not None:
        check_versions(value, version)
    return value


def _decode_envelope(raw: bytes, kind: Any, envelope: str) -> Any:
    outer = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if envelope not in outer:
        raise BadRequest(f"Invalid input: the body has no '{envelope}' object.")
    return msgspec.json.decode(outer[envelope], type=kind)


def single_action(raw: bytes) -> tuple[str, bytes]:
    """The one key of an action body, and the JSON of its value."""
    try:
        outer = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"Malformed request body: {error}") from None
    if len(outer) != 1:
        raise BadRequest(f"An action body has exactly one key; this one has {len(outer)}.")
    ((name, value),) = outer.items()
    return name, bytes(value)


def check_versions(value: Any, version: Version) -> None:
    """Raise `BadRequest` when a field is set that the microversion does not have."""
    if isinstance(value, msgspec.Struct):
        for name, encoded, limits in _versioned_fields(type(value)):
            inner = getattr(value, name)
            if inner is msgspec.UNSET:
                continue
            if limits is not None and (
                (limits.since and version < limits.since) or (limits.until and version > limits.until)
            ):
                raise BadRequest(
                    f"Invalid input: Additional properties are not allowed ('{encoded}' was unexpected)"
                )
            check_versions(inner, version)
    elif isinstance(value, list):
        for item in value:
            check_versions(item, version)


@functools.cache
def _versioned_fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, _Range | None], ...]:
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for name, encoded in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        limits = _limits(hints[name])
        if limits is not None or _may_hold_structs(hints[name]):
            found.append((name, encoded, limits))
    return tuple(found)


def _limits(hint: Any) -> _Range | None:
    if get_origin(hint) is Annotated:
        for mark in get_args(hint)[1:]:
            if isinstance(mark, msgspec.Meta) and mark.extra and "versions" in mark.extra:
                marks = mark.extra["versions"]
                return _Range(*(Version.parse(marks[k]) if marks[k] else None for k in ("since", "until")))
        return _limits(get_args(hint)[0])
    for inner in get_args(hint):
        if (limits := _limits(inner)) is not None and get_origin(inner) is Annotated:
            return limits
    return None


def _may_hold_structs(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return True
    return any(_may_hold_structs(inner) for inner in get_args(hint))
