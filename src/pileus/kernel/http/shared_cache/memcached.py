"""A connection to one memcached: two commands, and no way to make anybody wait.

Requests are sent as they come and answered in order. Whatever goes wrong (no connection, no answer in time, an answer
that cannot be understood) ends the connection and means "not known" for everybody who waits on it; for a while nobody
asks again. Source of the protocol: memcached's doc/protocol.txt.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import re
import time

log = logging.getLogger(__name__)

DEADLINE_S = 0.05
CONNECT_TIMEOUT_S = 1.0
AWAY_S = 5.0
MAX_VALUE_BYTES = 4_096
MAX_BUFFER_BYTES = 4 * MAX_VALUE_BYTES
MAX_WAITING = 1_000
VALUE = re.compile(rb"VALUE (\S{1,250}) \d{1,10} (\d{1,7})\r\n")
END = b"END\r\n"


class Memcached:
    """One server. Nothing here raises for what a server does."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.address = f"{host}:{port}".encode()
        self._link: _Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._again_at = 0.0
        self._is_told = False

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None when it is not there or not to be had in `DEADLINE_S`."""
        link = self._usable()
        if link is None:
            return None
        answer = link.ask(b"get %b\r\n" % key, key)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await answer
        except TimeoutError:
            self._lose(link, "no answer in time")
            return None

    def put(self, key: bytes, value: bytes, *, for_s: int) -> None:
        """Send a value there; whether it is kept nobody needs to know."""
        link = self._usable()
        if link is not None and len(value) <= MAX_VALUE_BYTES:
            link.ask(b"set %b 0 %d %d\r\n%b\r\n" % (key, for_s, len(value), value), None)

    def close(self) -> None:
        """End the connection."""
        self._again_at = float("inf")
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.end()

    def _usable(self) -> _Link | None:
        """The connection, if it is there; if not it is made meanwhile, and nobody waits for that."""
        link = self._link
        if link is not None and not link.is_over:
            return link if len(link.waiting) < MAX_WAITING else None
        if link is not None:
            self._lose(link, link.why or "the connection was lost")
        if self._connecting is None and time.monotonic() >= self._again_at:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        return None

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, self._link = await asyncio.get_running_loop().create_connection(_Link, self.host, self.port)
            if self._is_told:
                log.info("memcached %s:%d answers again", self.host, self.port)
                self._is_told = False
        except (OSError, TimeoutError) as error:
            self._rest(str(error) or "no connection in time")
        finally:
            self._connecting = None

    def _lose(self, link: _Link, why: str) -> None:
        if self._link is link:
            self._link = None
            link.end()
            self._rest(why)

    def _rest(self, why: str) -> None:
        self._again_at = max(self._again_at, time.monotonic() + AWAY_S)
        if not self._is_told:
            log.warning("memcached %s:%d: %s; tokens are looked up without it", self.host, self.port, why)
            self._is_told = True


class _Link(asyncio.Protocol):
    """A connection while it lasts. waiting: who waits for an answer, with the key that was asked for (None: a set)."""

    def __init__(self) -> None:
        self.waiting: collections.deque[tuple[asyncio.Future[bytes | None], bytes | None]] = collections.deque()
        self.is_over = False
        self.why = ""
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def ask(self, request: bytes, key: bytes | None) -> asyncio.Future[bytes | None]:
        """Send; the answer comes into the future."""
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self.waiting.append((answer, key))
        assert self._transport is not None
        self._transport.write(request)
        return answer

    def end(self) -> None:
        """Give up: nobody waits any more."""
        self._finish()
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and not self.is_over:
            try:
                length, value = self._answer()
            except ValueError as error:
                self.why = f"an answer that cannot be understood ({error})"
                self.end()
                return
            if not length:
                return
            self._buffer = self._buffer[length:]
            answer, _ = self.waiting.popleft()
            if not answer.done():  # its caller may have gone
                answer.set_result(value)

    def _answer(self) -> tuple[int, bytes | None]:
        """Length and value of the first answer in the buffer; length 0: it is not whole yet. Raises ValueError."""
        if not self.waiting or len(self._buffer) > MAX_BUFFER_BYTES + MAX_VALUE_BYTES * len(self.waiting):
            raise ValueError("more than was asked for")
        key = self.waiting[0][1]
        found = VALUE.match(self._buffer) if key is not None else None
        if found is not None:
            if found[1] != key or int(found[2]) > MAX_VALUE_BYTES:
                raise ValueError("another value")
            end = found.end() + int(found[2])
            whole = end + 2 + len(END)
            if len(self._buffer) < whole:
                return 0, None
            if self._buffer[end:whole] != b"\r\n" + END:
                raise ValueError("no end")
            return whole, self._buffer[found.end() : end]
        line, mark, _ = self._buffer.partition(b"\r\n")
        if not mark:
            if len(line) > MAX_BUFFER_BYTES:
                raise ValueError("an endless line")
            return 0, None
        if line == b"END" and key is not None:
            return len(END), None
        if (key is None and line in (b"STORED", b"NOT_STORED")) or line.startswith(b"SERVER_ERROR"):
            return len(line) + 2, None
        raise ValueError("no word of the protocol")

    def _finish(self) -> None:
        self.is_over = True
        while self.waiting:
            answer, _ = self.waiting.popleft()
            if not answer.done():
                answer.set_result(None)
