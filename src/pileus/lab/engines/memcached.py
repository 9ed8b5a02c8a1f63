"""memcached: caches that may vanish at any time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pileus.lab.engines.member import Member, reply
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

    def status(self) -> str:
        """`running`, or what it is otherwise."""
        return "running" if self.answers() else "not answering" if self.alive() else "down"


class MemcachedServers:
    """One in each place."""

    def __init__(self, places: Sequence[Place], *, port: int = 11211) -> None:
        self.members = tuple(Memcached(place, port=port) for place in places)

    def bootstrap(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """The first start; the same as any other."""
        self.restart(timeout_s)

    def restart(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start those that are down; empty."""
        down = [member for member in self.members if not member.alive()]
        for member in down:
            member.start()
        for member in down:
            member.wait_ready(timeout_s)

    def stop(self) -> None:
        """End all."""
        for member in self.members:
            member.stop()

    def status(self) -> dict[str, str]:
        """A few words on each member, by its host's name."""
        return {member.name: member.status() for member in self.members}
