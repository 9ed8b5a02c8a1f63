"""Pages: limit and marker from the query, checked; links to the next page."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams

from pileus.kernel.errors import BadRequest

MAX_PAGE = 1_000
_NUMBER = re.compile(r"-?[0-9]{1,18}")


class Page(msgspec.Struct, frozen=True):
    """What the client asked for. limit: at most so many items, never over the service's maximum."""

    limit: int
    marker: str | None
    asked_limit: bool


def parse_page(query: QueryParams, *, maximum: int = MAX_PAGE) -> Page:
    """Read `limit` and `marker`. 400 for a limit that is no number or below zero; 0 counts as the maximum."""
    text = query.get("limit")
    limit = maximum
    if text is not None:
        if not _NUMBER.fullmatch(text):
            raise BadRequest(f"limit param must be an integer, not '{text[:40]}'")
        limit = int(text)
        if limit < 0:
            raise BadRequest("limit param must not be negative")
        limit = min(limit, maximum) if limit else maximum
    return Page(limit, query.get("marker") or None, text is not None)


def parse_sort(
    query: QueryParams, allowed: frozenset[str] | set[str], default: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Read repeated `sort_key`/`sort_dir`, or `sort=key:dir,key2`. 400 for unknown keys and directions."""
    pairs: list[tuple[str, str]] = []
    if sort := query.get("sort"):
        for part in sort.split(","):
            key, _, direction = part.partition(":")
            pairs.append((key.strip(), direction.strip() or "asc"))
    else:
        keys, directions = query.getlist("sort_key"), query.getlist("sort_dir")
        fallback = directions[-1] if directions else "desc" if not keys else "asc"
        pairs = [(key, directions[i] if i < len(directions) else fallback) for i, key in enumerate(keys)]
    for key, direction in pairs:
        if key not in allowed:
            raise BadRequest(f"Invalid sort key: {key[:80]}")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction: {direction[:40]}")
    return tuple(pairs) or default


def next_url(url: str, query: QueryParams, marker: str) -> str:
    """The same request, one page on."""
    pairs = [(key, value) for key, value in query.multi_items() if key != "marker"]
    return f"{url}?{urlencode([*pairs, ('marker', marker)])}"
