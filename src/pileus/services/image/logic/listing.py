"""What a listing asks for: filters, order and page, read from the query and checked."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from typing import Final

from starlette.datastructures import QueryParams

from pileus.kernel.errors import BadRequest
from pileus.services.image.config import ImageConfig
from pileus.services.image.db.listing import Condition, Listing
from pileus.services.image.states import ACCEPTED, MEMBER_STATUSES, VISIBILITIES

SORT_KEYS: Final = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
DEFAULT_SORT: Final = (("created_at", "desc"),)
MAX_FILTERS: Final = 64
_PAGING: Final = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "tag"})
_TEXTS: Final = frozenset({"id", "name", "status", "container_format", "disk_format"})
_PLAIN_TEXTS: Final = frozenset({"owner", "checksum", "os_hash_algo", "os_hash_value"})
_NUMBERS: Final = frozenset({"size", "virtual_size", "min_disk", "min_ram", "size_min", "size_max"})
_BOOLEANS: Final = frozenset({"protected", "os_hidden"})
_TIMES: Final = frozenset({"created_at", "updated_at"})
_OPERATORS: Final = frozenset({"gt", "gte", "lt", "lte", "eq", "neq"})
_MAX_NUMBER: Final = 2**63 - 1


def parse(query: QueryParams, config: ImageConfig) -> Listing:
    """Read a query. Raises `BadRequest` that says which part is wrong."""
    conditions: list[Condition] = []
    properties: list[tuple[str, str]] = []
    items = query.multi_items()
    if len(items) > MAX_FILTERS:
        raise BadRequest(f"At most {MAX_FILTERS} query parameters are accepted.")
    for name, value in items:
        if name == "changes-since":
            raise BadRequest('The "changes-since" filter is no longer available on v2.')
        if name in _PAGING:
            continue
        condition = _condition(name, value)
        if condition is None:
            properties.append((name, value))
        else:
            conditions.append(condition)
    if "os_hidden" not in query:
        conditions.append(Condition("os_hidden", "eq", False))
    visibility = query.get("visibility")
    if visibility is not None and visibility not in (*VISIBILITIES, "all"):
        raise BadRequest(f"Invalid visibility value: {visibility[:40]}")
    member_status = query.get("member_status", ACCEPTED)
    if member_status not in (*MEMBER_STATUSES, "all"):
        raise BadRequest(f"Invalid status: {member_status[:40]}")
    return Listing(
        _limit(query, config), query.get("marker") or None, _sort(query), tuple(conditions), tuple(properties),
        tuple(query.getlist("tag")), visibility, member_status,
    )


def _condition(name: str, value: str) -> Condition | None:
    if name in _TEXTS:
        return _text_condition(name, value)
    if name in _PLAIN_TEXTS:
        return Condition(name, "eq", value)
    if name in _BOOLEANS:
        return Condition(name, "eq", _boolean(name, value))
    if name in _NUMBERS:
        number = _number(name, value)
        operator = {"size_min": "gte", "size_max": "lte"}.get(name, "eq")
        return Condition(name.removesuffix("_min").removesuffix("_max"), operator, number)
    if name in _TIMES:
        return _time_condition(name, value)
    return None


def _text_condition(name: str, value: str) -> Condition:
    if value.startswith("in:"):
        try:
            values = next(csv.reader([value[3:]], strict=True), [])
        except csv.Error:
            values = []
        if not values or not all(values):
            raise BadRequest(f"Invalid filter value {value[:80]}. A comma-separated list is expected after 'in:'.")
        return Condition(name, "in", tuple(values))
    return Condition(name, "eq", value.removeprefix("eq:"))


def _boolean(name: str, value: str) -> bool:
    lower = value.lower()
    if lower not in ("true", "false"):
        raise BadRequest(f"Invalid value '{value[:40]}' for '{name}' filter: 'true' or 'false' is expected.")
    return lower == "true"


def _number(name: str, value: str) -> int:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20) or int(digits) > _MAX_NUMBER:
        raise BadRequest(f"Cannot convert image {name} '{value[:40]}' to an integer.")
    if value.startswith("-"):
        raise BadRequest(f"Image {name} must be >= 0 ('{value[:40]}' specified).")
    return int(value)


def _time_condition(name: str, value: str) -> Condition:
    operator, colon, rest = value.partition(":")
    if not colon or operator not in _OPERATORS:
        operator, rest = "eq", value
    try:
        time = datetime.fromisoformat(rest)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"Invalid time format: {rest[:40]}.") from None
    return Condition(name, operator, time)


def _limit(query: QueryParams, config: ImageConfig) -> int:
    text = query.get("limit")
    if text is None:
        return config.default_page
    digits = text.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise BadRequest("limit param must be an integer")
    if text.strip().startswith("-"):
        raise BadRequest("limit param must be positive")
    return min(int(digits), config.max_page)


def _sort(query: QueryParams) -> tuple[tuple[str, str], ...]:
    keys, directions, text = query.getlist("sort_key"), query.getlist("sort_dir"), query.get("sort")
    pairs: list[tuple[str, str]] = []
    if text is not None:
        if keys or directions:
            raise BadRequest("Old and new sorting syntax cannot be combined")
        for part in text.split(","):
            key, _, direction = part.strip().partition(":")
            pairs.append((key, direction or "desc"))
    elif keys or directions:
        keys = keys or ["created_at"]
        if len(directions) > 1 and len(directions) != len(keys):
            raise BadRequest("Number of sort dirs does not match the number of sort keys")
        directions = directions if len(directions) > 1 else (directions or ["desc"]) * len(keys)
        pairs = list(zip(keys, directions, strict=True))
    for key, direction in pairs:
        if key not in SORT_KEYS:
            raise BadRequest(f"Invalid sort key: {key[:40]}. It must be one of the following: {', '.join(SORT_KEYS)}.")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction: {direction[:40]}")
    first_named: dict[str, str] = {}
    for key, direction in pairs:
        first_named.setdefault(key, direction)
    return tuple(first_named.items()) or DEFAULT_SORT
