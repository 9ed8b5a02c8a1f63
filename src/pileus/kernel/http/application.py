"""The ASGI application: one port, a path per service; finds the route, checks the caller, decodes, answers, renders
faults. Everything a request can do wrong ends here in the service's own fault shape."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pileus.kernel import context as ctx
from pileus.kernel.context import Context
from pileus.kernel.errors import (
    BadRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestTimeout,
    RouteNotFound,
    ServiceError,
    Unauthorized,
    UnsupportedMediaType,
)
from pileus.kernel.http import body as bodies
from pileus.kernel.http import tracing
from pileus.kernel.http.call import Call, Reply
from pileus.kernel.http.routes import ANY_TOKEN, PUBLIC, Match, Route, Router
from pileus.kernel.http.versions import HEADER, Version

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

log = logging.getLogger(__name__)
access = logging.getLogger("pileus.access")

NO_VERSION = Version(0, 0)
MAX_TOKEN_BYTES = 8_192
BODY_LIMIT_S = 60.0
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
REQUEST_ID_HEADER = "X-Openstack-Request-Id"

Authenticate = Callable[[str], Awaitable[Context]]


class Mount:
    """One service under its path."""

    def __init__(self, runtime: Runtime[Any], authenticate: Authenticate) -> None:
        self.runtime = runtime
        self.service = runtime.service
        self.router = Router(self.service.routes)
        self.authenticate = authenticate


class Application:
    """ASGI entry. `ports` maps one of the usual ports to a service's path, so that `/` there is that service."""

    def __init__(self, root: Callable[[Request], Awaitable[Response]]) -> None:
        self.mounts: dict[str, Mount] = {}
        self.ports: dict[int, str] = {}
        self._root = root

    def mount(self, mount: Mount) -> None:
        """Serve a service below its path."""
        self.mounts[mount.service.path.strip("/")] = mount

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await self.answer(request)
        try:
            await response(scope, receive, send)
        except (ClientDisconnect, OSError):
            log.debug("the client went away during %s %s", request.method, request.url.path)

    async def answer(self, request: Request) -> Response:
        """The response to one request; never raises for what a client can do."""
        path: str = request.scope["path"]
        by_port = self.ports.get((request.scope.get("server") or ("", 0))[1] or 0)
        if by_port is not None:
            path = f"/{by_port}{path}"
        name, _, rest = path.lstrip("/").partition("/")
        mount = self.mounts.get(name)
        if mount is None:
            response = await self._root(request)
            response.headers[REQUEST_ID_HEADER] = ctx.new_request_id()
            return response
        base_url = mount.runtime.public_root(request, with_path=by_port is None)
        return await _Answering(mount, request, "/" + rest, base_url).run()


class _Answering:
    """The life of one request in one service."""

    def __init__(self, mount: Mount, request: Request, path: str, base_url: str) -> None:
        self.mount = mount
        self.service = mount.service
        self.request = request
        self.path = path
        self.base_url = base_url
        self.version = NO_VERSION
        self.request_id = ctx.new_request_id()
        # What this request has done by others names it as the cause.
        self.context = Context(
            request_id=self.request_id, global_request_id=_global_request_id(request.headers), cause=self.request_id
        )
        self.error: ServiceError | None = None
        self.route: Route | None = None
        self.subject = ""  # the id of what the request is about

    async def run(self) -> Response:
        started = time.perf_counter()
        token = ctx.enter(self.context)
        try:
            response = await self._guarded()
            response.headers[REQUEST_ID_HEADER] = self.context.request_id
            if self.service.versions is not None and self.version != NO_VERSION:
                response.headers.update(self.service.versions.headers(self.version))
            if self.service.request_id_header:
                response.headers[self.service.request_id_header] = self.context.request_id
            access.info(
                "%s %s%s %d %.1f ms", self.request.method, self.service.path, self.path, response.status_code,
                (time.perf_counter() - started) * 1000,
            )
            self._record(response.status_code, started)
            return response
        finally:
            ctx.leave(token)

    def _record(self, status: int, started: float) -> None:
        if not tracing.is_kept(self.request, self.route, status):
            return
        path = _UNPRINTABLE.sub("?", self.path)
        tracing.record(
            self.request, self.route, f"{self.service.type}-api", path, self.context, status=status, began=started,
            subject=self.subject, error=self.error,
        )

    async def _guarded(self) -> Response:
        try:
            return await self._answer()
        except ServiceError as error:
            if error.detail:
                log.info("%s: %s", error.text, error.detail)
            return self._fault(error)
        except ClientDisconnect:
            return self._fault(BadRequest("The client closed the connection before the request was complete."))
        except Exception as error:  # a kernel loop: one broken handler must not take the process with it
            log.exception("unhandled error in %s %s", self.request.method, self.path)
            return self._fault(ServiceError(detail=type(error).__name__))

    async def _answer(self) -> Response:
        match = self.mount.router.find(self.path)
        if self.service.versions is not None and self.service.is_versioned(self.path):
            self.version = self.service.versions.negotiate(
                self.request.headers.get(HEADER),
                self.request.headers.get(self.service.versions.legacy_header or HEADER + "-none"),
            )
        if match is None or not match.routes:
            await self._authenticated_or_refused()
            raise RouteNotFound()
        self.subject = match.values[0] if match.values else ""
        route, raw = await self._route(match)
        self.route = route
        call: Call[Any] = Call(
            rt=self.mount.runtime,
            request=self.request,
            route=route,
            path=dict(zip(route.variables, match.values, strict=True)),
            context=self.context,
            version=self.version,
            token=self.request.headers.get("x-auth-token"),
            base_url=self.base_url,
        )
        if route.policy != PUBLIC:
            self.context = call.context = await self._authenticate()
            ctx.enter(self.context)
            if route.policy != ANY_TOKEN:
                call.enforce(route.policy)
        await self._read_body(call, raw)
        return self._response(route, await route.handler(call))

    async def _authenticated_or_refused(self) -> None:
        if self.service.hides_unknown_paths:
            await self._authenticate()

    async def _route(self, match: Match) -> tuple[Route, bytes]:
        method = "GET" if self.request.method == "HEAD" and "HEAD" not in match.routes else self.request.method
        routes = match.routes.get(method)
        if not routes:
            error = MethodNotAllowed()
            error.headers["Allow"] = ", ".join(sorted(match.routes))
            raise error
        raw = b""
        if any(route.action for route in routes):
            # The action's name decides the route, so the caller is checked first: nobody else may make us parse.
            await self._authenticate()
            self._check_media_type()
            raw = await self._read(max(route.max_body_bytes or 0 for route in routes))
            name, raw = bodies.single_action(raw)
            routes = [route for route in routes if route.action == name]
            if not routes:
                raise BadRequest(f"There is no such action: {name[:80]}")
        offered = [route for route in routes if route.offered_at(self.version if self.version != NO_VERSION else None)]
        if not offered:
            raise RouteNotFound()
        return offered[0], raw

    async def _authenticate(self) -> Context:
        token = self.request.headers.get("x-auth-token")
        if not token or len(token) > MAX_TOKEN_BYTES:
            raise Unauthorized()
        context = await self.mount.authenticate(token)
        return msgspec.structs.replace(
            context, request_id=self.request_id, global_request_id=self.context.global_request_id,
            cause=self.request_id,
        )

    async def _read_body(self, call: Call[Any], raw: bytes) -> None:
        route = call.route
        if route.body is not None and route.action is None:
            self._check_media_type()
        if route.action is None and route.max_body_bytes is not None:
            raw = await self._read(route.max_body_bytes)
        call.raw = raw
        if route.body is not None:
            version = self.version if self.version != NO_VERSION else None
            call.body = bodies.decode(raw, route.body, envelope=route.envelope, version=version)

    def _check_media_type(self) -> None:
        declared = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if declared and self.service.media_types and declared not in self.service.media_types:
            raise UnsupportedMediaType(content_type=declared[:80])

    async def _read(self, limit: int) -> bytes:
        length = self.request.headers.get("content-length")
        if length is not None and (not length.isdigit() or int(length) > limit):
            raise PayloadTooLarge(limit=limit)
        chunks, size = [], 0
        try:
            async with asyncio.timeout(BODY_LIMIT_S):
                async for chunk in self.request.stream():
                    size += len(chunk)
                    if size > limit:
                        raise PayloadTooLarge(limit=limit)
                    chunks.append(chunk)
        except TimeoutError:
            raise RequestTimeout(limit=f"{BODY_LIMIT_S:g}") from None
        return b"".join(chunks)

    def _response(self, route: Route, result: Any) -> Response:
        if isinstance(result, Response):
            return result
        status, headers = route.success, {}
        if isinstance(result, Reply):
            status, headers, result = result.status or status, _one_line_each(result.headers), result.body
        if result is None:
            return Response(status_code=status, headers=headers)
        if self.request.method == "POST":
            self.subject = tracing.made(result) or self.subject
        content = msgspec.json.encode(result)
        return Response(content, status_code=status, headers=headers, media_type="application/json")

    def _fault(self, error: ServiceError) -> Response:
        self.error = error
        content, media_type = self.service.render_fault(error, self.context.request_id)
        response = Response(content, status_code=error.code, media_type=media_type)
        response.headers.update(_one_line_each(error.headers))
        if error.code == 401:
            response.headers["WWW-Authenticate"] = f'Keystone uri="{self.mount.runtime.node.config.url}/identity"'
        return response


def _one_line_each(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers whose values, whatever a client named something, are printable ASCII: the rest is percent-encoded."""
    return {name: _UNPRINTABLE.sub(lambda found: quote(found[0]), value) for name, value in headers.items()}


def _global_request_id(headers: Mapping[str, str]) -> str | None:
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if ctx.is_request_id(given) else None
