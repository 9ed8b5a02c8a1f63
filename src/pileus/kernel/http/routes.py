"""Route tables. A resource's API file lists its routes at the top; the router finds one without regular expressions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from pileus.kernel.http.versions import Version

PUBLIC = "<public>"
ANY_TOKEN = "<any token>"
DEFAULT_MAX_BODY_BYTES = 114_688


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation.

    path: from the service's root, variables as `{name}`; `{name:path}` as the last segment takes the rest.
    policy: rule checked against the caller's own project before the handler runs (the handler checks again against the
    resource where that is somebody else's), or PUBLIC, or ANY_TOKEN.
    success: status of a plain answer. body: struct of the JSON body, None when there is none or the handler streams it.
    action: for `…/action` paths, the body's single key; body is then the struct of its value.
    since, until: microversions that have the operation. envelope: JSON key around the body (`server`), or None.
    max_body_bytes: longer bodies are refused with 413; None for streamed ones. traced: False for what is asked all the
    time and never followed (token validation): it is kept for traces only when it breaks.
    """

    method: str
    path: str
    handler: Callable[[Any], Awaitable[Any]]
    policy: str
    success: int = 200
    body: Any = None
    envelope: str | None = None
    action: str | None = None
    since: str | None = None
    until: str | None = None
    max_body_bytes: int | None = DEFAULT_MAX_BODY_BYTES
    traced: bool = True

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the path's variables, in order."""
        parts = [part for part in self.path.split("/") if part.startswith("{")]
        return tuple(part[1:-1].removesuffix(":path") for part in parts)

    def offered_at(self, version: Version | None) -> bool:
        """Whether this operation exists at a microversion."""
        if version is None:
            return True
        if self.since and version < Version.parse(self.since):
            return False
        return not (self.until and version > Version.parse(self.until))


class Match(msgspec.Struct):
    """All routes of one path, and the values of its variables in order."""

    routes: dict[str, list[Route]]
    values: list[str]


class _Node:
    __slots__ = ("fixed", "rest", "routes", "variable")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.rest: _Node | None = None
        self.routes: dict[str, list[Route]] = {}


class Router:
    """A tree over path segments. Fixed segments win over variables."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self.routes = tuple(routes)
        for route in self.routes:
            self._add(route)

    def find(self, path: str) -> Match | None:
        """The routes of a path (any method), or None."""
        segments = path.strip("/").split("/") if path.strip("/") else []
        values: list[str] = []
        node = self._walk(self._root, segments, 0, values)
        return None if node is None else Match(node.routes, values)

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in [part for part in route.path.strip("/").split("/") if part]:
            if segment.startswith("{") and segment.endswith(":path}"):
                node.rest = node.rest or _Node()
                node = node.rest
            elif segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.fixed.setdefault(segment, _Node())
        node.routes.setdefault(route.method, []).append(route)

    def _walk(self, node: _Node, segments: list[str], at: int, values: list[str]) -> _Node | None:
        if at == len(segments):
            return node if node.routes else None
        segment = segments[at]
        if (child := node.fixed.get(segment)) is not None:
            found = self._walk(child, segments, at + 1, values)
            if found is not None:
                return found
        if (child := node.variable) is not None and segment:
            values.append(segment)
            found = self._walk(child, segments, at + 1, values)
            if found is not None:
                return found
            values.pop()
        if node.rest is not None:
            values.append("/".join(segments[at:]))
            return node.rest
        return None
