"""The Fernet keys that a process knows now, and how they are kept where others may look.

The primary key seals. The staged key becomes the primary at the next rotation, so that every process has it before it
is used. The rest are secondary: they only unseal.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from cryptography import fernet
from cryptography.fernet import Fernet


class WrongWrapping(ValueError):
    """A kept key was wrapped with another secret, or is damaged."""


class KeyRing:
    """Filled by whoever reads the keys; used by sealers. secret: what the kept keys are encrypted with."""

    def __init__(self, secret: str) -> None:
        self._wrapping = Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))
        self._keys: list[bytes] = []
        self._ciphers: tuple[Fernet, ...] = ()

    def new_key(self) -> str:
        """A new random key, wrapped."""
        return self.wrap(Fernet.generate_key())

    def wrap(self, key: bytes) -> str:
        """A key as it is kept: encrypted, and tamper-proof."""
        Fernet(key)  # no key at all is said now
        return self._wrapping.encrypt(key).decode()

    def load(self, wrapped: Iterable[str]) -> bool:
        """Take these keys, the primary first, instead of those that were known; whether one of them is new.

        Raises WrongWrapping.
        """
        try:
            keys = [self._wrapping.decrypt(one.encode()) for one in wrapped]
        except fernet.InvalidToken:
            raise WrongWrapping("a token key cannot be opened") from None
        is_news = bool(set(keys) - set(self._keys))
        self._keys, self._ciphers = keys, tuple(Fernet(key) for key in keys)
        return is_news

    def ciphers(self) -> tuple[Fernet, ...]:
        """Primary first, the staged key last (others may use it already)."""
        return self._ciphers
