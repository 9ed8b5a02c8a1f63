"""One request, as a handler sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import Request

from pileus.kernel.context import Context
from pileus.kernel.http.routes import Route
from pileus.kernel.http.versions import Version

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

B = TypeVar("B")


class Reply:
    """An answer that is not just a body with the route's status. `body` None sends none."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: Any = None, *, status: int | None = None, headers: Mapping[str, str] | None = None):
        self.body = body
        self.status = status
        self.headers = headers or {}


class Call(Generic[B]):
    """What a handler gets: the service's runtime, the caller's context, path variables, query, decoded body.

    body: instance of the route's struct (None when it declares none). raw: the body's bytes (empty when streamed).
    version: negotiated microversion; (0, 0) for services without. base_url: the service's public root, no slash at
    the end. token: the caller's token, only for forwarding; never log it.
    """

    __slots__ = ("base_url", "body", "context", "path", "raw", "request", "route", "rt", "token", "version")

    def __init__(
        self,
        *,
        rt: Runtime[Any],
        request: Request,
        route: Route,
        path: dict[str, str],
        context: Context,
        version: Version,
        token: str | None,
        base_url: str,
    ) -> None:
        self.rt = rt
        self.request = request
        self.route = route
        self.path = path
        self.context = context
        self.version = version
        self.token = token
        self.base_url = base_url
        self.raw = b""
        self.body: B = None  # type: ignore[assignment]

    @property
    def query(self) -> QueryParams:
        """The query's parameters (a multi-dict)."""
        return self.request.query_params

    def at_least(self, version: str) -> bool:
        """Whether the negotiated microversion is `version` or newer."""
        return self.version >= Version.parse(version)

    def allows(self, rule: str, **target: Any) -> bool:
        """Whether policy allows the caller `rule` on a target, by default one of their own project and user."""
        return self.rt.policy.allows(self.context, rule, self.own_target() | target)

    def enforce(self, rule: str, **target: Any) -> None:
        """Raise `Forbidden` unless `allows`."""
        self.rt.policy.enforce(self.context, rule, self.own_target() | target)

    def own_target(self) -> dict[str, Any]:
        """A policy target that belongs to the caller."""
        context = self.context
        return {
            "project_id": context.project_id,
            "tenant_id": context.project_id,
            "user_id": context.user_id,
            "domain_id": context.domain_id,
        }
