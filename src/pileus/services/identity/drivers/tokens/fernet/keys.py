"""A directory of Fernet keys, laid out as operators of this API know it.

Files are named by numbers. The highest is the primary key: it seals. `0` is the staged key: it becomes the primary at
the next rotation, so that every process has it before it is used. The rest are secondary: they only unseal.
Source: the Fernet key repository described in keystone's administrator guide.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from cryptography.fernet import Fernet

STAGED = 0
FIRST_PRIMARY = 1
KEY_BYTES = 44


class KeyRepository:
    """The keys in one directory, read again whenever the directory has changed."""

    def __init__(self, directory: Path, *, max_active_keys: int) -> None:
        self.directory = directory
        self.max_active_keys = max(max_active_keys, 3)
        self._seen: tuple[int, ...] = ()
        self._ciphers: tuple[Fernet, ...] = ()

    def set_up(self) -> None:
        """Make the directory, a staged and a primary key when they are missing; several processes may at once."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held for two small writes; it goes with the process
            numbers = self.numbers()
            if STAGED not in numbers:
                self._write(STAGED, Fernet.generate_key())
            if not [number for number in numbers if number != STAGED]:
                self._write(FIRST_PRIMARY, Fernet.generate_key())
        finally:
            os.close(lock)

    def rotate(self) -> None:
        """Staged becomes primary, a new one is staged, the oldest beyond the limit go.

        Safe to be killed at any line: the staged key is copied to its new number before it is replaced.
        """
        numbers = self.numbers()
        self._write(max(numbers) + 1, self._path(STAGED).read_bytes())
        self._write(STAGED, Fernet.generate_key())
        active = [number for number in self.numbers() if number != STAGED]
        for number in active[: -(self.max_active_keys - 1)]:
            with contextlib.suppress(FileNotFoundError):
                self._path(number).unlink()

    def primary_age_s(self) -> float:
        """How long the present primary key has been one."""
        return max(0.0, time.time() - self._path(max(self.numbers())).stat().st_mtime)

    def ciphers(self) -> tuple[Fernet, ...]:
        """Primary first, then the newer before the older, the staged key last (others may use it already)."""
        stat = self.directory.stat()
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen != self._seen:
            numbers = self.numbers()
            order = [*sorted((n for n in numbers if n != STAGED), reverse=True), STAGED]
            self._ciphers = tuple(Fernet(self._path(number).read_bytes()) for number in order)
            self._seen = seen
        return self._ciphers

    def numbers(self) -> list[int]:
        """The numbers of all keys, ascending."""
        return sorted(int(name) for name in os.listdir(self.directory) if name.isdigit())

    def _path(self, number: int) -> Path:
        return self.directory / str(number)

    def _write(self, number: int, key: bytes) -> None:
        # A name that is no number: readers do not take a half-written file for a key.
        temporary = self.directory / f"{number}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(number))
