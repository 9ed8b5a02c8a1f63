"""A loopback proxy before a MariaDB server that cuts a connection at its COMMIT, before or after it is carried out."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Literal, Self

COMMIT = b"\x03COMMIT"
"""The body of the packet that PyMySQL sends."""
CHUNK = 65_536

Cut = Literal["before", "after"]


class CuttingProxy:
    """A context manager; `port` is where clients connect."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.cuts = 0
        self._next_cut: Cut | None = None
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_exc: object) -> None:
        for sock in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
            sock.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def cut_next(self, when: Cut) -> None:
        """The next COMMIT, whoever sends it, is the last that its connection sees."""
        self._next_cut = when

    def refuse(self) -> None:
        """Let nobody in from now on; connections that are open stay."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _start(self, target, *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += [client, server]
                self._start(self._carry, client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError), client, server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(CHUNK)
                    if not data or self._is_cut(source is client and COMMIT in data, data, server):
                        return
                    (server if source is client else client).sendall(data)

    def _is_cut(self, is_commit: bool, data: bytes, server: socket.socket) -> bool:
        if not is_commit or self._next_cut is None:
            return False
        when, self._next_cut = self._next_cut, None
        self.cuts += 1
        if when == "after":
            server.sendall(data)
            assert server.recv(CHUNK)  # carried out; nobody is told
        return True
