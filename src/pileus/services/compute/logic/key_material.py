"""Key pairs as bytes: fingerprints of imported keys, and new ones.

Sources: RFC 4253 section 6.6 (public key format), RFC 4716 section 4 (MD5 fingerprint).
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pileus.services.compute.errors import InvalidKeyPair

MAX_KEY_CHARS = 16_384
RSA_BITS = 2_048


def fingerprint(type_: str, public_key: str) -> str:
    """The fingerprint that clients show. Raises `InvalidKeyPair`."""
    if len(public_key) > MAX_KEY_CHARS:
        raise InvalidKeyPair(reason="the key is too long")
    return _of_certificate(public_key) if type_ == "x509" else _of_ssh_key(public_key)


def _of_ssh_key(public_key: str) -> str:
    words = public_key.split(maxsplit=2)
    if len(words) < 2 or "\n" in public_key.strip() or "\r" in public_key.strip():
        raise InvalidKeyPair(reason="failed to generate fingerprint")
    try:
        blob = base64.b64decode(words[1], validate=True)
        serialization.load_ssh_public_key(f"{words[0]} {words[1]}".encode())
    except (binascii.Error, ValueError, UnicodeEncodeError):
        raise InvalidKeyPair(reason="failed to generate fingerprint") from None
    except UnsupportedAlgorithm as error:
        # Hardware-backed kinds are good keys that this library does not read; their blob names the kind itself.
        if blob[4 : 4 + len(words[0])] != words[0].encode() or not words[0].startswith("sk-"):
            raise InvalidKeyPair(reason="failed to generate fingerprint") from error
    return _colons(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def _of_certificate(text: str) -> str:
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise InvalidKeyPair(reason="failed to generate X509 fingerprint. Error message: not a certificate") from None
    return _colons(certificate.fingerprint(hashes.SHA1()).hex())  # noqa: S303 - a name, not a proof


def _colons(digest: str) -> str:
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def generate_ssh_key() -> tuple[str, str]:
    """A new RSA key: (private key in PEM, public key in OpenSSH form). Takes some 100 ms of processor time."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode() + " Generated-by-Pileus"
