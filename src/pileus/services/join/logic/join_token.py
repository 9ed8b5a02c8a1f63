"""The token that an operator carries from a controller to a new host: where to go, whom to trust there, the secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets

import msgspec

from pileus.services.join.logic import place

PREFIX = "pileus-join-1-"
MAX_CHARS = 1_024
SECRET_BYTES = 32
ID = re.compile(r"[0-9a-f]{16}")
DIGEST = re.compile(r"[A-Za-z0-9_-]{43}")


class MalformedToken(ValueError):
    """Not a token, or not all of it."""


class JoinToken(msgspec.Struct, frozen=True, array_like=True):
    """at: `host:port` of a controller. authority: fingerprint of the cloud's certificate authority. id: by which the
    cloud knows the token. secret: which makes it one."""

    at: str
    authority: str
    id: str
    secret: str

    def __repr__(self) -> str:
        return f"JoinToken(at={self.at!r}, id={self.id!r})"


def new(at: str, authority: str) -> JoinToken:
    """A new random token."""
    return JoinToken(at, authority, secrets.token_hex(8), secrets.token_urlsafe(SECRET_BYTES))


def write(token: JoinToken) -> str:
    """As one word."""
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def read(text: str) -> JoinToken:
    """Raises MalformedToken, whose text does not repeat the token."""
    word = text.strip()
    if not word.startswith(PREFIX) or len(word) > MAX_CHARS:
        raise MalformedToken(f"that is no join token: one begins with {PREFIX!r} and is one word")
    content = word.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(content + "=" * (-len(content) % 4), altchars=b"-_", validate=True)
        token = msgspec.json.decode(raw, type=JoinToken)
        place.parts(token.at)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise MalformedToken("the join token is damaged; a part of it may be missing") from None
    if not (ID.fullmatch(token.id) and DIGEST.fullmatch(token.authority) and DIGEST.fullmatch(token.secret)):
        raise MalformedToken("the join token is damaged; a part of it may be missing")
    return token


def digest(secret: str) -> str:
    """What the cloud keeps of a secret: 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
