"""Client connections that cannot be held for ever: a limit on every wait for a client.

A client may be slow at four moments: before its request's head is complete, while it sends the body, while it takes
the answer, and when it goes on sending a body that was answered already. The body's wait belongs to whoever reads it
(`application.py`, the image upload); the others are here, because only the protocol can see them. Past its limit a
connection is cut without further words.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)

HEAD_LIMIT_S: Final = 60.0
MAX_HEAD_BYTES: Final = 64 * 1024
TAKE_LIMIT_S: Final = 60.0  # for what lies ready for a client (64 KiB to 1 MiB) to be taken
REST_LIMIT_S: Final = 300.0  # for the rest of a body that nobody wants: clients read an early answer only after it


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. `limits` may be set on a subclass for tests."""

    head_limit_s = HEAD_LIMIT_S
    take_limit_s = TAKE_LIMIT_S
    rest_limit_s = REST_LIMIT_S

    _head_bytes = 0
    _body_ended = True
    _waiting_for_client: asyncio.TimerHandle | None = None
    _waiting_for_taker: asyncio.TimerHandle | None = None

    # -- the head --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit(self.head_limit_s, "sent no request")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._body_ended = False
        self._limit(self.head_limit_s, "did not finish its request's head")

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._limit(None)
        super().on_headers_complete()

    def _count(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            self._cut(f"sent a request whose head is longer than {MAX_HEAD_BYTES} bytes")

    # -- the body --------------------------------------------------------------------------------------------

    def on_message_complete(self) -> None:
        self._body_ended = True
        answered = self.cycle is not None and self.cycle.response_complete
        self._limit(self.head_limit_s if answered else None, "sent no other request")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._body_ended:
            self._limit(self.rest_limit_s, "goes on sending a body that was answered")

    # -- the answer ------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        late = "does not take its answer"
        self._waiting_for_taker = self.loop.call_later(self.take_limit_s, self._cut, late)

    def resume_writing(self) -> None:
        if self._waiting_for_taker is not None:
            self._waiting_for_taker.cancel()
            self._waiting_for_taker = None
        super().resume_writing()

    # -- the end ---------------------------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit(None)
        if self._waiting_for_taker is not None:
            self._waiting_for_taker.cancel()
        super().connection_lost(exc)

    def _limit(self, seconds: float | None, late: str = "") -> None:
        """Cut the connection after `seconds` unless this is called again."""
        if self._waiting_for_client is not None:
            self._waiting_for_client.cancel()
        self._waiting_for_client = None if seconds is None else self.loop.call_later(seconds, self._cut, late)

    def _cut(self, why: str) -> None:
        if self.transport is not None and not self.transport.is_closing():
            log.info("connection of %s cut: it %s", self.client[0] if self.client else "a client", why)
        if self.transport is not None:
            # Without the option the kernel would keep what was not taken, and go on offering it, for minutes.
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
