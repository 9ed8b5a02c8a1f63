"""Lists as network clients ask for them: any attribute as filter, chosen fields, sorting, pages with links; and single
resources, with what the caller may not see taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from pileus.kernel.http.call import Call
from pileus.kernel.http.paging import MAX_PAGE
from pileus.services.network.api.attributes import Resource
from pileus.services.network.api.checks import shown
from pileus.services.network.db.listing import Filter, ListQuery
from pileus.services.network.errors import HTTPBadRequest

T = TypeVar("T")

MAX_ROWS = 10_000  # without a limit from the client; more come in pages
NOT_FILTERS = frozenset({"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"})
assert MAX_ROWS >= MAX_PAGE


def parse(call: Call[Any], filters: Mapping[str, Filter], sortable: Iterable[str]) -> ListQuery:
    """The query of a list request. 400 for filters and sort keys that do not exist."""
    query = call.query
    wanted: dict[str, list[str]] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(query.keys()):
        if name in NOT_FILTERS:
            continue
        if name in filters:
            wanted[name] = query.getlist(name)
        else:
            unknown.append(shown(name))
    if unknown:
        raise HTTPBadRequest(reason=f"{unknown} is invalid attribute for filtering")
    return ListQuery(
        filters=wanted, sort=_sort(call, set(sortable)), limit=_limit(query.get("limit")),
        marker=query.get("marker") or None, page_reverse=query.get("page_reverse", "").lower() == "true",
    )


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_ROWS
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise HTTPBadRequest(reason=f"Limit must be an integer 0 or greater and not '{shown(text)}'")
    return min(int(text) or MAX_ROWS, MAX_ROWS)


def _sort(call: Call[Any], sortable: set[str]) -> tuple[tuple[str, str], ...]:
    keys, directions = call.query.getlist("sort_key"), call.query.getlist("sort_dir")
    if directions and len(keys) != len(directions):
        raise HTTPBadRequest(reason="The number of sort_keys and sort_dirs must be same")
    for key in keys:
        if key not in sortable:
            raise HTTPBadRequest(reason=f"['{shown(key)}'] is invalid attribute for sort keys")
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise HTTPBadRequest(reason="Sort direction must be 'asc' or 'desc'")
    return tuple((key, directions[at] if directions else "asc") for at, key in enumerate(keys))


def answer(call: Call[Any], kind: Resource, query: ListQuery, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of a list, with links to its neighbours when the client asked for a page."""
    body: dict[str, Any] = {kind.plural: items}
    asked = "limit" in call.query and query.limit
    if (asked or len(items) == query.limit) and items:
        links = _links(call, kind, query, items)
        if links:
            body[f"{kind.plural}_links"] = links
    return body


def _links(call: Call[Any], kind: Resource, query: ListQuery, items: list[dict[str, Any]]) -> list[dict[str, str]]:
    full = len(items) >= query.limit
    kept = [(key, value) for key, value in call.query.multi_items() if key not in ("marker", "page_reverse")]
    if "limit" not in call.query:
        kept.append(("limit", str(query.limit)))
    url = f"{call.base_url}/v2.0/{kind.plural.replace('_', '-')}"
    links = []
    if (full or query.page_reverse) and "id" in items[-1]:
        links.append({"rel": "next", "href": f"{url}?{urlencode([*kept, ('marker', items[-1]['id'])])}"})
    if (full or not query.page_reverse) and "id" in items[0] and query.marker:
        more = [*kept, ("marker", items[0]["id"]), ("page_reverse", "True")]
        links.append({"rel": "previous", "href": f"{url}?{urlencode(more)}"})
    return links


class Shower:
    """Makes bodies of one kind for one caller: leaves out attributes that policy hides, and those not asked for."""

    def __init__(self, call: Call[Any], kind: Resource) -> None:
        self._call = call
        self._kind = kind
        self._fields = {name for value in call.query.getlist("fields") for name in value.split(",") if name}
        prefix = f"get_{kind.singular}:"
        knows = call.rt.policy.knows
        self._guarded = [name for name in kind.attributes if knows(prefix + name)]
        self._verdicts: dict[Any, tuple[bool, frozenset[str]]] = {}

    def show(self, body: dict[str, Any], target: dict[str, Any]) -> dict[str, Any] | None:
        """The body as the caller may see it; None if they may not see it at all."""
        key = tuple(target.values())
        if key not in self._verdicts:
            self._verdicts[key] = self._judge(target)
        visible, hidden = self._verdicts[key]
        if not visible:
            return None
        wanted = self._fields
        return {name: v for name, v in body.items() if name not in hidden and (not wanted or name in wanted)}

    def _judge(self, target: dict[str, Any]) -> tuple[bool, frozenset[str]]:
        singular, allows = self._kind.singular, self._call.allows
        hidden = frozenset(n for n in self._guarded if not allows(f"get_{singular}:{n}", **target))
        return allows(f"get_{singular}", **target), hidden

    def show_all(
        self, things: Iterable[T], view: Callable[[T], dict[str, Any]], target: Callable[[T], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """All that the caller may see."""
        shown_ones = (self.show(view(thing), target(thing)) for thing in things)
        return [body for body in shown_ones if body is not None]


def standard(thing: Any) -> dict[str, Any]:
    """What all resources show."""
    return {
        "id": thing.id, "project_id": thing.project_id, "tenant_id": thing.project_id,
        "description": thing.description, "tags": list(thing.tags), "created_at": time_text(thing.created_at),
        "updated_at": time_text(thing.updated_at), "revision_number": thing.revision_number,
    }  # fmt: skip


def time_text(value: datetime) -> str:
    """Seconds, UTC, as network clients read it."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
