"""Password hashes. Two kinds, told apart by their prefix:

`$scrypt$ln=15,r=8,p=1$salt$hash`: for passwords that people choose; slow and memory-hard for whoever guesses.
`$random$salt$hash`: SHA-256, for secrets of 256 random bits that this cloud made itself. Nobody can guess those, so
slowness would only cost start-up time. A wrong guess against one still costs a full scrypt: answers take equally long.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

SALT_BYTES = 16
HASH_BYTES = 32
MAX_SCRYPT_MEMORY_BYTES = 256 * 1024 * 1024


def hash_password(password: str, *, log2_cost: int) -> str:
    """Hash for storing; takes about 0.1 s of CPU and 32 MiB at log2_cost 15. Run it in a thread."""
    salt = secrets.token_bytes(SALT_BYTES)
    return f"$scrypt$ln={log2_cost},r=8,p=1${_b64(salt)}${_b64(_scrypt(password, salt, log2_cost, 8, 1))}"


def hash_random_secret(secret: str) -> str:
    """Hash of a secret that this cloud made of at least 256 random bits. Never for anything a person chose."""
    salt = secrets.token_bytes(SALT_BYTES)
    return f"$random${_b64(salt)}${_b64(_fast(secret, salt))}"


def is_random_kind(stored: str | None) -> bool:
    """Whether the stored hash is of a secret that this cloud made."""
    return stored is not None and stored.startswith("$random$")


def matches_random(secret: str, stored: str | None) -> bool:
    """Whether a `$random$` hash is of this secret; quick. False for every other kind of hash."""
    if stored is None or not is_random_kind(stored):
        return False
    _, _, salt, digest = stored.split("$")
    return hmac.compare_digest(_fast(secret, _unb64(salt)), _unb64(digest))


def verify(password: str, stored: str | None, *, log2_cost: int) -> bool:
    """Whether the password is the one that was hashed. Every False has cost one scrypt, whatever the reason (no such
    user, no password, another kind of hash); run it in a thread."""
    if matches_random(password, stored):
        return True
    if stored is not None and stored.startswith("$scrypt$"):
        try:
            _, _, parameters, salt, digest = stored.split("$")
            ln, r, p = (int(part.partition("=")[2]) for part in parameters.split(","))
            return hmac.compare_digest(_scrypt(password, _unb64(salt), ln, r, p), _unb64(digest))
        except (ValueError, binascii.Error):
            pass  # a damaged hash matches nothing
    _scrypt(password, bytes(SALT_BYTES), log2_cost, 8, 1)
    return False


def _scrypt(password: str, salt: bytes, ln: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << ln, r=r, p=p, maxmem=MAX_SCRYPT_MEMORY_BYTES, dklen=HASH_BYTES
    )


def _fast(secret: str, salt: bytes) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
