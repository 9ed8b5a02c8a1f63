"""The directory that held a cloud's Fernet keys before its database did: read once, then removed.

Files are named by numbers: the highest is the primary key, `0` the staged one, the rest are secondary.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

STAGED = "0"


class KeyFiles(msgspec.Struct, frozen=True):
    """Keys in order of their age, the primary last; `staged` apart. primary_since_s: seconds since the epoch."""

    active: tuple[bytes, ...]
    staged: bytes | None
    primary_since_s: float


def read(directory: Path) -> KeyFiles | None:
    """What is there; None when there is no primary key. Raises OSError."""
    if not directory.is_dir():
        return None
    found = {path.name: path for path in directory.iterdir() if path.name.isdecimal()}
    staged = found.pop(STAGED, None)
    active = sorted(found.values(), key=lambda path: int(path.name))
    if not active:
        return None
    return KeyFiles(
        tuple(path.read_bytes().strip() for path in active), staged.read_bytes().strip() if staged else None,
        active[-1].stat().st_mtime,
    )


def remove(directory: Path) -> bool:
    """Remove the directory; whether there was one. Raises OSError."""
    if not directory.is_dir():
        return False
    shutil.rmtree(directory)
    return True
