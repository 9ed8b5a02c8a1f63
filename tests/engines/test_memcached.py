"""memcached, as the lab runs it."""

from __future__ import annotations

import socket

from engines.loopback import loopback_places
from pileus.lab.engines.memcached import MemcachedServers


def say(server: str, line: bytes) -> bytes:
    address, port = server.split(":")
    with socket.create_connection((address, int(port)), timeout=5) as sock:
        sock.sendall(line)
        return sock.recv(100)


def test_each_host_has_a_cache_that_comes_back_empty() -> None:
    with loopback_places(2) as places:
        caches = MemcachedServers(places)
        caches.bootstrap()
        first, second = caches.members
        assert say(first.server, b"set k 0 0 1\r\nv\r\n") == b"STORED\r\n"
        assert say(second.server, b"get k\r\n") == b"END\r\n"
        first.kill()
        assert caches.status() == {"m1": "down", "m2": "running"}
        caches.restart()
        assert caches.status() == {"m1": "running", "m2": "running"}
        assert say(first.server, b"get k\r\n") == b"END\r\n"
        caches.stop()
        assert caches.status() == {"m1": "down", "m2": "down"}
