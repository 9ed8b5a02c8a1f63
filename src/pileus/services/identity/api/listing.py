"""What identity's lists share: filters and pages from the query, the collection around the items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pileus.kernel.http import Call
from pileus.kernel.http.paging import parse_page
from pileus.services.identity.db.filters import COMPARISONS, Filter, Window

FALSE_WORDS = frozenset({"0", "false"})


def is_true(value: str | None) -> bool:
    """A flag in a query: given at all, and not as 0 or false. A flag without a value is true."""
    return value is not None and value.lower() not in FALSE_WORDS


def filters(call: Call[Any], allowed: Mapping[str, type]) -> tuple[Filter, ...]:
    """Conditions from the query: `name=x`, `name__contains=x`. allowed: parameter and the type of its column.

    What is not allowed is ignored, as clients of this API expect.
    """
    found = []
    for key, value in call.query.multi_items():
        name, _, comparison = key.partition("__")
        if name not in allowed or (comparison or "exact") not in COMPARISONS:
            continue
        if allowed[name] is bool:
            found.append(Filter(name, is_true(value)))
        else:
            found.append(Filter(name, value, comparison or "exact"))
    return tuple(found)


def window(call: Call[Any]) -> Window:
    """The page that the query asks for."""
    page = parse_page(call.query, maximum=call.rt.config.max_list)
    return Window(page.limit, page.marker)


def collection(
    call: Call[Any], key: str, items: list[dict[str, Any]], asked: Window | None = None
) -> dict[str, Any]:
    """The list with its links. asked: the page; one item beyond its limit means that there is a next one."""
    url = call.base_url + call.request.url.path[call.request.url.path.index("/v3"):]
    query = call.query.multi_items()
    links: dict[str, Any] = {"self": f"{url}?{urlencode(query)}" if query else url, "previous": None, "next": None}
    body: dict[str, Any] = {key: items, "links": links}
    if asked is not None and len(items) > asked.limit:
        body[key] = items[: asked.limit]
        rest = [(name, value) for name, value in query if name not in ("marker", "limit")]
        onward = [*rest, ("limit", str(asked.limit)), ("marker", body[key][-1]["id"])]
        links["next"] = f"{url}?{urlencode(onward)}"
        body["truncated"] = True
    return body
