"""memcached, as the lab runs it."""

from __future__ import annotations

import socket
from pathlib import Path

from engines.loopback_place import LoopbackPlace, free_port
from pileus.lab.engines.memcached import MemcachedServers


def say(server: str, line: bytes) -> bytes:
    address, port = server.split(":")
    with socket.create_connection((address, int(port)), timeout=5) as sock:
        sock.sendall(line)
        return sock.recv(100)


def test_each_host_has_a_cache_that_comes_back_empty(tmp_path: Path) -> None:
    places = [LoopbackPlace(f"m{n}", 75 + n, tmp_path / f"m{n}") for n in (1, 2)]
    caches = MemcachedServers(places, port=free_port(*(place.address for place in places)))
    try:
        caches.bootstrap()
        first, second = caches.members
        assert say(first.server, b"set k 0 0 1\r\nv\r\n") == b"STORED\r\n"
        assert say(second.server, b"get k\r\n") == b"END\r\n"
        first.kill()
        assert caches.status() == {"m1": "down", "m2": "running"}
        caches.restart()
        assert caches.status() == {"m1": "running", "m2": "running"}
        assert say(first.server, b"get k\r\n") == b"END\r\n"
    finally:
        caches.stop()
