"""Clients of sibling services: the same public API, reached inside the process or over the network.

A service's `clients/<sibling>.py` builds typed calls on a `ServiceSession`.
"""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request

from pileus.kernel import context as ctx
from pileus.kernel.errors import RemoteError, Unavailable
from pileus.kernel.observe import hops

REQUEST_TIMEOUT_S = 60.0
TOKEN_RENEW_BEFORE_S = 300.0


class HttpResult(msgspec.Struct, frozen=True):
    """An answer: status, headers with lower-case names, the whole body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body decoded."""
        return msgspec.json.decode(self.body)


class Transport(Protocol):
    """Sends one request to `/<service path>/…`."""

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpResult: ...

    def stream(self, method: str, path: str, headers: Mapping[str, str]) -> AsyncIterator[bytes]: ...


class InProcessTransport:
    """Calls the ASGI application of this process directly: no socket, the same code path otherwise."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpResult:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                response = await self._answer(method, path, headers, body)
                chunks = [chunk async for chunk in _body(response)]
        except TimeoutError:
            text = f"{path.split('/')[1]} did not answer in {REQUEST_TIMEOUT_S:g} s."
            raise RemoteError(503, "ServiceUnavailable", text) from None
        plain = {key.lower(): value for key, value in response.headers.items()}
        return HttpResult(response.status_code, plain, b"".join(chunks))

    async def stream(self, method: str, path: str, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        response = await self._answer(method, path, headers, b"")
        if response.status_code >= 300:
            text = b"".join([chunk async for chunk in _body(response)]).decode(errors="replace")
            raise RemoteError(response.status_code, "DownloadFailed", text[:500])
        async for chunk in _body(response):
            yield chunk

    async def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Any:
        plain_path, _, query = path.partition("?")
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await asyncio.Future()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": plain_path,
            "raw_path": plain_path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            "server": ("in-process", 0), "client": ("in-process", 0),
        }
        # A task of its own keeps the sibling's context variables out of ours.
        return await asyncio.create_task(self._application.answer(Request(scope, receive)))


async def _body(response: Any) -> AsyncIterator[bytes]:
    if hasattr(response, "body_iterator"):
        async for chunk in response.body_iterator:
            yield chunk if isinstance(chunk, bytes) else bytes(chunk)
    elif response.body:
        yield bytes(response.body)


class Credentials(msgspec.Struct, frozen=True):
    """A service user and its password."""

    username: str
    password: str
    project: str = "service"


Route = Callable[[str], tuple[Transport, str]]
"""How a sibling is reached, by its type: with which transport, and the path of its root there."""


class ServiceSession:
    """Requests to sibling services with this service's own token, renewed before it expires.

    credentials: asked for when there is need of a token; not every role has a password.
    """

    def __init__(self, route: Route, credentials: Callable[[], Credentials]) -> None:
        self._route = route
        self._credentials = credentials
        self._token = ""
        self._expires = 0.0
        self._lock = asyncio.Lock()

    async def request(
        self, service: str, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None,
        token: str | None = None, headers: Mapping[str, str] | None = None,
    ) -> HttpResult:
        """Ask service type `service`; `path` from its root. Raises `RemoteError` for every answer from 400 up.

        token: act with the user's token instead of the service's own.
        """
        transport, root = self._route(service)
        full = root + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        content = b"" if body is None else msgspec.json.encode(body)
        with hops.asking(f"{service}-api", f"{method} {path}"):
            result = await transport.send(method, full, await self._headers(token, headers), content)
            if result.status == 401 and token is None:
                self._expires = 0.0
                result = await transport.send(method, full, await self._headers(None, headers), content)
        if result.status >= 400:
            raise _remote_error(service, result)
        return result

    async def stream(self, service: str, path: str) -> AsyncIterator[bytes]:
        """A GET whose body is read in chunks."""
        transport, root = self._route(service)
        async for chunk in transport.stream("GET", root + path, await self._headers(None, None)):
            yield chunk

    async def _headers(self, token: str | None, extra: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "X-Auth-Token": token or await self.token(), **(extra or {})}
        here = ctx.current()
        if request_id := here.sent_request_id:
            headers |= {"X-Openstack-Request-Id": request_id, "X-Pileus-Cause": here.cause or request_id}
        return headers

    async def token(self) -> str:
        """This service's token, fresh for at least some minutes."""
        async with self._lock:
            if time.monotonic() > self._expires:
                await self._renew()
        return self._token

    async def _renew(self) -> None:
        mine = self._credentials()
        user = {"name": mine.username, "password": mine.password, "domain": {"id": "default"}}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": mine.project, "domain": {"id": "default"}}},
            }
        }
        transport, root = self._route("identity")
        result = await transport.send(
            "POST", root + "/v3/auth/tokens", {"Content-Type": "application/json"},
            msgspec.json.encode(body),
        )
        if result.status != 201:
            raise Unavailable(f"The identity service refused {mine.username} ({result.status}).")
        expires = msgspec.convert(result.json()["token"]["expires_at"], type=datetime)
        self._token = result.headers["x-subject-token"]
        self._expires = time.monotonic() + expires.timestamp() - time.time() - TOKEN_RENEW_BEFORE_S


def _remote_error(service: str, result: HttpResult) -> RemoteError:
    """Read the fault shapes of all services: the inner object's type and message, whatever it is called."""
    kind, text = "RemoteError", _plain_text(result)[:500]
    try:
        fault = result.json()
        if isinstance(fault.get("errors"), list):
            fault = {"error": fault["errors"][0]}
        ((key, inner),) = fault.items()
        code = inner.get("code")  # a number in most services, placement's stable name of the error
        kind = inner.get("type") or inner.get("code_name") or (code if isinstance(code, str) else key)
        text = inner.get("message") or inner.get("detail") or text
    except (ValueError, AttributeError, TypeError, LookupError):
        pass  # not JSON, or not a fault: the raw text says it
    return RemoteError(result.status, str(kind), text or f"{service} answered {result.status}")


def _plain_text(result: HttpResult) -> str:
    """A body that is not JSON; of a web page (the image service's faults) only what it says below its heading."""
    text = result.body.decode(errors="replace")
    if "html" in result.headers.get("content-type", ""):
        text = html.unescape(re.sub(r"<[^>]*>", " ", text.rpartition("</h1>")[2]))
    return text.strip()
