"""memcached: caches that may vanish at any time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pileus.lab.engines.member import Member, Members, reply
from pileus.lab.place import Place

READY_TIMEOUT_S: Final = 10.0
USER: Final = "nobody"
CONNECTIONS: Final = 256
SIZE_MIB: Final = 64


class Memcached(Member):
    """One server. It shares nothing with others: which of them has an entry is the clients' business. It listens on
    the place's address only, and not on UDP."""

    def __init__(self, place: Place, *, port: int = 11211, size_mib: int = SIZE_MIB) -> None:
        super().__init__(place)
        self._port = port
        self._size_mib = size_mib

    @property
    def server(self) -> str:
        """As in `[cache] servers`."""
        return f"{self.place.address}:{self._port}"

    def start(self) -> None:
        self._process = self.place.start(
            ["memcached", "-l", self.place.address, "-p", str(self._port), "-U", "0", "-m", str(self._size_mib),
             "-c", str(CONNECTIONS), "-t", "1", "-u", USER], log=self.log,
        )  # fmt: skip

    def answers(self) -> bool:
        return reply(self.place, self._port, b"version\r\n").startswith(b"VERSION ")


class MemcachedServers(Members[Memcached]):
    """One in each place. They start empty."""

    ready_timeout_s = READY_TIMEOUT_S

    def __init__(self, places: Sequence[Place], *, port: int = 11211) -> None:
        super().__init__(Memcached(place, port=port) for place in places)
