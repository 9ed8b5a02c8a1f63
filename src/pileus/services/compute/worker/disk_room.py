"""Room on the file system that holds the servers' disks.

Builds leave a reserve: the journal must be written and running guests must be able to grow their disks after the last
build that fitted. What has no room is refused before it begins where that can be known, and stopped half-way where
not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pileus.services.compute.worker.faults import ServerFault

MIB: Final = 2**20
GIB: Final = 2**30
RESERVE_SHARE: Final = 0.02
MAX_RESERVE_BYTES: Final = GIB
MIN_BUILD_BYTES: Final = 16 * MIB  # directory, journal, an empty overlay, a config drive


def free_bytes(directory: Path) -> int:
    """What builds may still use of the file system."""
    found = os.statvfs(directory)
    reserve = min(int(found.f_blocks * found.f_frsize * RESERVE_SHARE), MAX_RESERVE_BYTES)
    return max(0, found.f_bavail * found.f_frsize - reserve)


def require(directory: Path, needed_bytes: int, what: str) -> None:
    """Raise ServerFault (no_space) unless `what` has the room that it needs (0: any)."""
    if free_bytes(directory) <= needed_bytes:
        raise refusal(directory, needed_bytes, what)


def refusal(directory: Path, needed_bytes: int, what: str) -> ServerFault:
    """The fault of `what` (0: nobody knows how much it needs) for which there is no room."""
    needs = f"{what} needs {size_text(needed_bytes)}" if needed_bytes else f"while {what}"
    message = f"The compute host's disk for servers is full ({needs}, {size_text(free_bytes(directory))} free)."
    return ServerFault("no_space", message, detail=str(directory), retryable=True)


def size_text(count: int) -> str:
    """A number of bytes for people: MiB below 10 GiB, GiB above."""
    return f"{count / GIB:.1f} GiB" if count >= 10 * GIB else f"{-(-count // MIB)} MiB"
