"""Secrets of a cloud that it makes for itself: one file in the state directory, for its owner only."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

import msgspec

from pileus.kernel.host import durable

FILE = "secrets.json"
LOCK = "secrets.lock"
SECRET_BYTES = 24


def secret(state_dir: Path, name: str) -> str:
    """The secret of that name; made at random on first use and kept. Processes of a cloud may ask at the same time."""
    known = _known(state_dir)
    return known[name] if name in known else _make(state_dir, name)


def _make(state_dir: Path, name: str) -> str:
    lock = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for one small write; it goes with the process
        known = _known(state_dir)
        if name not in known:
            known[name] = secrets.token_urlsafe(SECRET_BYTES)
            write_private(state_dir / FILE, msgspec.json.format(msgspec.json.encode(known)))
        return known[name]
    finally:
        os.close(lock)


def _known(state_dir: Path) -> dict[str, str]:
    path = state_dir / FILE
    return msgspec.json.decode(path.read_bytes()) if path.exists() else {}


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one that only its owner can read; a crash leaves the old one whole."""
    durable.write(path, content)
