"""A loopback proxy that leads to one server at a time and can be turned to another: a small stand-in for HAProxy."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Self

CHUNK = 65_536
CONNECT_TIMEOUT_S = 5


class Switch:
    """A context manager; `port` is where clients connect."""

    def __init__(self, address: str, port: int) -> None:
        self._to = (address, port)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_exc: object) -> None:
        _shut(self._listening)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def turn(self, address: str, port: int, *, cut: bool = True) -> None:
        """New connections go there. cut: those that are open end; otherwise they stay where they are."""
        self._to = (address, port)
        if cut:
            self.cut()

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            for sock in self._open:
                _shut(sock)  # wakes the thread that reads it

    def _start(self, target, *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._carry, self._listening.accept()[0])

    def _carry(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._to, CONNECT_TIMEOUT_S) as server:
            server.settimeout(None)
            pair = {client, server}
            with self._lock:
                self._open |= pair
            try:
                while True:
                    for source in select.select([client, server], [], [])[0]:
                        data = source.recv(CHUNK)
                        if not data:
                            return
                        (server if source is client else client).sendall(data)
            finally:
                with self._lock:
                    self._open -= pair


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
