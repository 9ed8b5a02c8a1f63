"""Answers guests at 169.254.169.254, from inside the namespaces of their networks and routers.

The listening sockets live in the namespaces, the work is done here: no process per network. Who asks is known by the
namespace the request came through and its peer address alone, both checked by the anti-spoofing rules; what the guest
writes into identity-like headers is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable
from http import HTTPStatus

import httptools
from msgspec import Struct

from pileus.kernel.host.namespaces import namespace_inode, open_listener
from pileus.services.network.drivers.interfaces import MetadataBackend
from pileus.services.network.rpc import MetadataRequest, MetadataResponse

METADATA_ADDRESS = "169.254.169.254"
METADATA_PORT = 80
ROUTER_LISTEN_PORT = 9697
MAX_REQUEST_BYTES = 64 * 1024  # line, headers and body together
MAX_HEADERS = 64
READ_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 30.0
MAX_CONNECTIONS = 64  # per network or router: one guest cannot take them from another network
READ_BYTES = 16 * 1024
FORGEABLE_HEADERS = ("x-instance-id", "x-forwarded-", "x-tenant-id", "x-project-id", "x-metadata-", "x-neutron-",
                     "x-pileus-", "x-real-ip", "forwarded", "x-auth-", "x-user-", "x-role")  # fmt: skip
log = logging.getLogger(__name__)


class Source(Struct, frozen=True):
    """Where a request came in."""

    network_id: str | None
    router_id: str | None

    @property
    def namespace(self) -> str:
        return f"qdhcp-{self.network_id}" if self.network_id is not None else f"qrouter-{self.router_id}"


class _Listener:
    """One listening socket and its connections."""

    def __init__(self, inode: int | None, server: asyncio.Server, gate: asyncio.Semaphore) -> None:
        self.inode = inode
        self.server = server
        self.gate = gate


class MetadataServer:
    """Keeps one listener per namespace. `backend` answers."""

    def __init__(self, backend: MetadataBackend, router_port: int = ROUTER_LISTEN_PORT) -> None:
        self._backend = backend
        self._router_port = router_port
        self._listeners: dict[Source, _Listener] = {}

    async def keep_networks(self, network_ids: Iterable[str]) -> None:
        """Stop serving other networks (before their namespaces go)."""
        keep = {Source(network_id, None) for network_id in network_ids}
        await self._close({source for source in self._listeners if source.router_id is None} - keep)

    async def keep_routers(self, router_ids: Iterable[str]) -> None:
        """Stop serving other routers."""
        keep = {Source(None, router_id) for router_id in router_ids}
        await self._close({source for source in self._listeners if source.network_id is None} - keep)

    async def serve_networks(self, network_ids: Iterable[str]) -> None:
        """Serve these networks through their DHCP namespaces."""
        for network_id in network_ids:
            await self._serve(Source(network_id, None), METADATA_ADDRESS, METADATA_PORT)

    async def serve_routers(self, router_ids: Iterable[str]) -> None:
        """Serve guests behind these routers; their namespaces redirect to our port."""
        for router_id in router_ids:
            await self._serve(Source(None, router_id), "0.0.0.0", self._router_port)

    async def close(self) -> None:
        await self._close(set(self._listeners))

    async def _close(self, sources: set[Source]) -> None:
        for source in sources:
            self._listeners.pop(source).server.close()

    async def _serve(self, source: Source, address: str, port: int) -> None:
        inode = namespace_inode(source.namespace)
        present = self._listeners.get(source)
        if present is not None and present.inode == inode:
            return
        if present is not None:  # the namespace was removed by hand and made again
            await self._close({source})
        try:
            listener = await open_listener(source.namespace, address, port)
        except OSError as error:
            log.warning("metadata in %s not served: %s", source.namespace, error)
            return
        gate = asyncio.Semaphore(MAX_CONNECTIONS)

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._connection(source, gate, reader, writer)

        server = await asyncio.start_server(on_connection, sock=listener, limit=READ_BYTES)
        self._listeners[source] = _Listener(inode, server, gate)

    async def _connection(
        self, source: Source, gate: asyncio.Semaphore, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if gate.locked():
                await _write(writer, _plain(HTTPStatus.SERVICE_UNAVAILABLE))
                return
            async with gate:
                await _write(writer, await self._exchange(source, reader, writer))
        except (OSError, TimeoutError) as error:
            log.debug("metadata connection through %s ended: %s", source.namespace, error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(
        self, source: Source, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> MetadataResponse:
        parsed = _Request()
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                await parsed.read(reader)
        except TimeoutError:
            return _plain(HTTPStatus.REQUEST_TIMEOUT)
        except _Refused as error:
            return _plain(error.status)
        request = MetadataRequest(
            source_ip=_peer(writer),
            method=parsed.method,
            path=parsed.path,
            network_id=source.network_id,
            router_id=source.router_id,
            headers=parsed.headers,
            body=bytes(parsed.body),
        )
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._backend(request)
        except (OSError, TimeoutError) as error:
            log.warning("metadata for %s through %s not answered: %s", request.source_ip, source.namespace, error)
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        self.status = status


class _Request:
    """One HTTP/1 request, bounded. The method names with `on_` are httptools' callbacks."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.path = ""
        self.body = bytearray()
        self.method = ""
        self._complete = False
        self._parser = httptools.HttpRequestParser(self)

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Raises _Refused."""
        received = 0
        while not self._complete:
            data = await reader.read(READ_BYTES)
            received += len(data)
            if not data:
                raise _Refused(HTTPStatus.BAD_REQUEST)
            if received > MAX_REQUEST_BYTES:
                raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade, _Refused):
                raise _Refused(HTTPStatus.BAD_REQUEST) from None
        self.method = self._parser.get_method().decode("ascii", errors="replace")

    def on_url(self, url: bytes) -> None:
        self.path += url.decode("ascii", errors="replace")

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        key = name.decode("latin-1").lower().replace("_", "-")
        if not key.startswith(FORGEABLE_HEADERS):
            self.headers[key] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self._complete = True


def _peer(writer: asyncio.StreamWriter) -> str:
    sock: socket.socket | None = writer.get_extra_info("socket")
    peer = writer.get_extra_info("peername") if sock is not None else None
    return str(peer[0]) if peer else ""


def _plain(status: HTTPStatus) -> MetadataResponse:
    return MetadataResponse(status=status.value, body=f"{status.phrase}\n".encode())


async def _write(writer: asyncio.StreamWriter, response: MetadataResponse) -> None:
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    head = (
        f"HTTP/1.1 {response.status} {phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + response.body)
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await writer.drain()
