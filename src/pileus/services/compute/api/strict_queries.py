"""From 2.102 on no operation ignores a query parameter that it does not know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from pileus.kernel.http import PUBLIC, Call, Route
from pileus.services.compute.api import queries

SINCE = "2.102"


def strict(routes: Iterable[Route], with_queries: Iterable[str]) -> tuple[Route, ...]:
    """The same routes; those whose handlers are not named in `with_queries` refuse every parameter."""
    reading = frozenset(with_queries)
    return tuple(
        route if route.policy == PUBLIC or route.handler.__name__ in reading else _refusing(route) for route in routes
    )


def _refusing(route: Route) -> Route:
    inner = route.handler

    async def handler(call: Call[Any]) -> Any:
        queries.only(call, since=SINCE)
        return await inner(call)

    return msgspec.structs.replace(route, handler=handler)
