"""Tells when any network device of this namespace appears, changes or goes.

A raw rtnetlink socket in the event loop: its messages are only counted, never parsed. Whoever waits looks at the
devices itself, so a lost message (a full buffer) does no harm: it counts as one more change.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

RTMGRP_LINK = 1
READ_BYTES = 65536
READS_PER_WAKE = 64


class LinkEvents:
    """Calls `on_change` (in the loop) after device changes, until closed."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._socket: socket.socket | None = None

    def start(self) -> None:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        sock.setblocking(False)
        sock.bind((0, RTMGRP_LINK))
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def _drain(self) -> None:
        assert self._socket is not None
        for _ in range(READS_PER_WAKE):
            try:
                self._socket.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
        self._on_change()

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
