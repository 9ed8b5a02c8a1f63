"""What other processes learnt of a token, if it is fresh; and telling them."""

from __future__ import annotations

import hashlib
import math
from typing import Any
from urllib.parse import urlsplit

from pileus.kernel import config as configuration
from pileus.kernel.config import CacheConfig, ConfigError
from pileus.kernel.context import Clock
from pileus.kernel.http.shared_cache.memcached import Memcached
from pileus.kernel.http.shared_cache.sealed import Entry, Sealer

SECTION = "cache"
USUAL_PORT = 11211
CLOCK_SKEW_S = 1.0
"""An entry from so far in the future is taken; clocks that differ by more do without each other's entries."""


class SharedTokens:
    """Entries by token. keep_s: how long an answer of identity may be used, wherever it went meanwhile."""

    def __init__(self, servers: list[Memcached], sealer: Sealer, clock: Clock, *, keep_s: float) -> None:
        self._servers = servers
        self._sealer = sealer
        self._clock = clock
        self._keep_s = keep_s

    async def get(self, token: str) -> tuple[Entry, float] | None:
        """A fresh entry, and for how many seconds it may still be used."""
        name = self._sealer.name(token)
        sealed = await self._server(name).get(name)
        entry = None if sealed is None else self._sealer.open(name, sealed)
        if entry is None:
            return None
        age_s = self._clock.now().timestamp() - entry.asked_at
        return (entry, self._keep_s - max(age_s, 0.0)) if -CLOCK_SKEW_S <= age_s < self._keep_s else None

    def put(self, token: str, entry: Entry) -> None:
        """Tell the others."""
        name = self._sealer.name(token)
        self._server(name).put(name, self._sealer.seal(name, entry), for_s=math.ceil(self._keep_s))

    def close(self) -> None:
        """End all connections."""
        for server in self._servers:
            server.close()

    def _server(self, name: bytes) -> Memcached:
        """Every process chooses the same; when a server goes or comes, only its own share moves."""
        if len(self._servers) == 1:
            return self._servers[0]
        return max(self._servers, key=lambda server: hashlib.sha256(b"%b%b" % (name, server.address)).digest())


def shared_tokens(tables: dict[str, Any], secret: str, clock: Clock, *, keep_s: float) -> SharedTokens | None:
    """What table [cache] describes; None when it names no server. Raises ConfigError."""
    servers = [_server(text) for text in configuration.section(tables, SECTION, CacheConfig).servers]
    return SharedTokens(servers, Sealer(secret.encode()), clock, keep_s=keep_s) if servers else None


def _server(text: str) -> Memcached:
    parts = urlsplit(f"//{text}")
    try:
        host, port = parts.hostname, parts.port or USUAL_PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.path or parts.username:
        raise ConfigError(f"[{SECTION}] servers: {text!r} is not written HOST:PORT")
    return Memcached(host, port)
