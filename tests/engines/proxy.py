"""Loopback proxies before a server: one that can be turned to another, one that cuts a connection at its COMMIT."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Literal, Self

COMMIT = b"\x03COMMIT"
"""The body of the packet that PyMySQL sends."""
CHUNK = 65_536
CONNECT_TIMEOUT_S = 5
END_TIMEOUT_S = 30

Cut = Literal["before", "after"]


class Proxy:
    """A context manager; `port` is where clients connect. All connections end with it."""

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
        self.refuse()
        self.cut()
        for thread in self._threads:
            thread.join(END_TIMEOUT_S)
            assert not thread.is_alive()

    def refuse(self) -> None:
        """Let nobody in from now on; connections that are open stay."""
        _shut(self._listening)
        self._listening.close()

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            for sock in self._open:
                _shut(sock)  # wakes the thread that reads it

    def _passes(self, data: bytes, server: socket.socket | None) -> bool:
        """Whether the connection goes on with this. server: whom the client sends it to; None: it is an answer."""
        return True

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
                        if not data or not self._passes(data, server if source is client else None):
                            return
                        (server if source is client else client).sendall(data)
            finally:
                with self._lock:
                    self._open -= pair


class Switch(Proxy):
    """Leads to one server at a time: a small stand-in for HAProxy."""

    def turn(self, address: str, port: int, *, cut: bool = True) -> None:
        """New connections go there. cut: those that are open end; otherwise they stay where they are."""
        self._to = (address, port)
        if cut:
            self.cut()


class CuttingProxy(Proxy):
    """Before a MariaDB server; cuts a connection at its COMMIT, before or after that is carried out."""

    def __init__(self, server_port: int) -> None:
        super().__init__("127.0.0.1", server_port)
        self.cuts = 0
        self._next_cut: Cut | None = None

    def cut_next(self, when: Cut) -> None:
        """The next COMMIT, whoever sends it, is the last that its connection sees."""
        self._next_cut = when

    def _passes(self, data: bytes, server: socket.socket | None) -> bool:
        if server is None or COMMIT not in data or self._next_cut is None:
            return True
        when, self._next_cut = self._next_cut, None
        self.cuts += 1
        if when == "after":
            server.sendall(data)
            assert server.recv(CHUNK)  # carried out; nobody is told
        return False


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
