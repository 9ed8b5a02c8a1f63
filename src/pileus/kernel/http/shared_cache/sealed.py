"""Entries as they lie in memcached: nobody without the cloud's secret can read, make, change or exchange one.

The name of an entry is an HMAC of its token, so neither says anything of the other. The key that an entry is encrypted
with is derived from its name: the content of one name is no content of another. What remains to somebody who can write
there is to put back what was there before; the time and the generation inside say that it is old.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pileus.kernel.context import Context

FORMAT = b"p1:"
NONCE_BYTES = 12


class Entry(msgspec.Struct, frozen=True):
    """What identity said of a token. generation: see `TokensRevoked`. asked_at: when it was asked, in seconds since the
    epoch by the clock of the host that asked."""

    context: Context
    generation: int
    asked_at: float


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


class Sealer:
    """Names, seals and opens entries. secret: the cloud's."""

    def __init__(self, secret: bytes) -> None:
        self._for_names = _derived(secret, b"names of tokens in the shared cache")
        self._for_keys = _derived(secret, b"entries of the shared cache")

    def name(self, token: str) -> bytes:
        """Under which name a token's entry lies."""
        return FORMAT + base64.urlsafe_b64encode(_derived(self._for_names, token.encode()))

    def seal(self, name: bytes, entry: Entry) -> bytes:
        """The entry for that name."""
        nonce = os.urandom(NONCE_BYTES)  # the key is the token's own, so few nonces are ever used with it
        return nonce + self._cipher(name).encrypt(nonce, _encoder.encode(entry), name)

    def open(self, name: bytes, sealed: bytes) -> Entry | None:
        """What was sealed for exactly that name; None for anything else."""
        try:
            return _decoder.decode(self._cipher(name).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name))
        except (InvalidTag, ValueError, msgspec.MsgspecError):  # ValueError: shorter than a nonce
            return None

    def _cipher(self, name: bytes) -> AESGCM:
        return AESGCM(_derived(self._for_keys, name))


def _derived(key: bytes, what: bytes) -> bytes:
    return hmac.digest(key, what, hashlib.sha256)
