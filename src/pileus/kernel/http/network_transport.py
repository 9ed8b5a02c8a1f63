"""Requests to a sibling service in another process: HTTP/1.1 on kept connections, every wait with an end.

Written on asyncio's streams and httptools, which the server uses already: between our own processes nothing else of
HTTP is needed, and a role that talks to siblings loads no client library for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote, urlsplit

import httptools

from pileus.kernel.errors import RemoteError
from pileus.kernel.http.client import REQUEST_TIMEOUT_S, HttpResult

CONNECT_TIMEOUT_S = 5.0
UNREACHABLE_S = 10.0
"""How long it is tried to connect: nothing was sent yet, so trying again is safe, and a restart takes less."""
RETRY_S = 0.2
IDLE_S = 30.0  # below what a server keeps
MAX_CONNECTIONS = 64
CHUNK_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 2**20
URL_CHARACTERS = "/%?#[]:@!$&'()*+,;=~-._"  # what callers have encoded stays as it is
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})


class _Broken(Exception):
    """The connection ended, or said what is not HTTP. `answered`: after the first byte of the answer."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class _Answer:
    """What the parser found so far; it calls the methods `on_…`."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.chunks: deque[bytes] = deque()
        self.begun = self.head_done = self.done = self.keep_alive = False

    def on_message_begin(self) -> None:
        self.begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.head_done = self.parser.get_status_code() >= 200  # below: an interim answer, the real one follows
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.done = self.head_done


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether the other side has kept it, as far as is known, and long enough is left."""
        fresh = time.monotonic() - self.idle_since < IDLE_S
        return fresh and not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        self._writer.close()

    async def ask(self, head: bytes, body: bytes) -> _Answer:
        """Send, and read until the answer's head is there."""
        answer, length = _Answer(), 0
        try:
            self._writer.write(head + body)
            await self._writer.drain()
        except OSError as error:
            raise _Broken(str(error), answered=False) from error
        while not answer.head_done:
            length += await self.read(answer)
            if length > MAX_HEAD_BYTES and not answer.head_done:
                raise _Broken("the head of the answer is too long", answered=True)
        return answer

    async def read(self, answer: _Answer) -> int:
        """Read once; returns the number of bytes."""
        try:
            data = await self._reader.read(CHUNK_BYTES)
            if not data:
                raise _Broken("the connection was closed", answered=answer.begun)
            answer.parser.feed_data(data)
        except (OSError, httptools.HttpParserError) as error:
            raise _Broken(str(error), answered=answer.begun) from error
        return len(data)


class NetworkTransport:
    """See `Transport`. service: its type, for texts. url: its scheme, host and port."""

    def __init__(self, service: str, url: str) -> None:
        parts = urlsplit(url)
        self._service = service
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._netloc = parts.netloc.rpartition("@")[2]
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpResult:
        """One request and its whole answer. RemoteError 503 when there is none."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S), self._slots:
                return await self._whole(method, self._head(method, path, headers, body), body)
        except TimeoutError:
            raise self._silent(f"did not answer in {REQUEST_TIMEOUT_S:g} s") from None
        except _Broken:
            raise self._silent("broke the connection off") from None

    async def stream(self, method: str, path: str, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The body of the answer as it comes. RemoteError with the sibling's status when it is none of success."""
        head = self._head(method, path, headers, b"")
        async with self._slots:
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    connection, answer = await self._answer(method, head, b"")
                try:
                    if (status := answer.parser.get_status_code()) >= 300:
                        async with asyncio.timeout(REQUEST_TIMEOUT_S):
                            text = await self._body(connection, answer)
                        raise RemoteError(status, "DownloadFailed", text.decode(errors="replace")[:500])
                    while answer.chunks or not answer.done:
                        while answer.chunks:
                            yield answer.chunks.popleft()
                        if not answer.done:
                            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                                await connection.read(answer)
                finally:
                    self._give_back(connection, answer)
            except TimeoutError:
                raise self._silent(f"sent nothing for {REQUEST_TIMEOUT_S:g} s") from None
            except _Broken:
                raise self._silent("broke the connection off") from None

    async def _whole(self, method: str, head: bytes, body: bytes) -> HttpResult:
        connection, answer = await self._answer(method, head, body)
        try:
            content = b"" if method == "HEAD" else await self._body(connection, answer)
            return HttpResult(answer.parser.get_status_code(), answer.headers, content)
        finally:
            self._give_back(connection, answer)

    async def _answer(self, method: str, head: bytes, body: bytes) -> tuple[_Connection, _Answer]:
        """Ask on a kept connection, else on a new one. A kept one may turn out to be closed: then once more, if the
        request cannot have been acted on or may be acted on twice."""
        while self._idle:
            kept = self._idle.pop()
            if not kept.usable:
                kept.close()
                continue
            try:
                return kept, await self._ask(kept, head, body)
            except _Broken as error:
                if error.answered or method not in REPEATABLE:
                    raise
        connection = await self._connect()
        return connection, await self._ask(connection, head, body)

    async def _ask(self, connection: _Connection, head: bytes, body: bytes) -> _Answer:
        try:
            return await connection.ask(head, body)
        except BaseException:
            connection.close()
            raise

    async def _body(self, connection: _Connection, answer: _Answer) -> bytes:
        content = bytearray()
        while True:
            while answer.chunks:
                content += answer.chunks.popleft()
            if len(content) > MAX_BODY_BYTES:
                raise RemoteError(502, "AnswerTooLarge", f"The {self._service} service answered too much.")
            if answer.done:
                return bytes(content)
            await connection.read(answer)

    async def _connect(self) -> _Connection:
        last_try = time.monotonic() + UNREACHABLE_S
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    return _Connection(*await asyncio.open_connection(self._host, self._port, ssl=self._tls))
            except (OSError, ssl.SSLError):  # TimeoutError is one
                if time.monotonic() > last_try:
                    raise self._silent("cannot be reached") from None
            await asyncio.sleep(RETRY_S)

    def _give_back(self, connection: _Connection, answer: _Answer) -> None:
        if answer.done and answer.keep_alive:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    def _head(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        target = quote(path, safe=URL_CHARACTERS)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header or path contains a line break")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _silent(self, what: str) -> RemoteError:
        return RemoteError(503, "ServiceUnavailable", f"The {self._service} service {what}.")

    def close(self) -> None:
        """Drop the kept connections."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            while self._idle:
                self._idle.pop().close()
