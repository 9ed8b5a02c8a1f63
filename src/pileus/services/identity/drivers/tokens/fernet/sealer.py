"""Seals token contents as Fernet messages (AES-128-CBC with HMAC-SHA-256; source: the Fernet spec)."""

from __future__ import annotations

from cryptography import fernet

from pileus.services.identity.drivers.tokens.fernet.keys import KeyRing
from pileus.services.identity.drivers.tokens.interface import InvalidToken

MAX_TOKEN_CHARS = 1_024


class FernetSealer:
    """See `Sealer`."""

    def __init__(self, keys: KeyRing) -> None:
        self.keys = keys

    def seal(self, content: bytes) -> str:
        return self.keys.ciphers()[0].encrypt(content).rstrip(b"=").decode()

    def unseal(self, token: str) -> bytes:
        if not token.isascii() or len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken("too long or not ASCII")
        padded = token.encode() + b"=" * (-len(token) % 4)
        for cipher in self.keys.ciphers():
            try:
                return cipher.decrypt(padded)
            except fernet.InvalidToken:
                continue
        raise InvalidToken("no key fits")
