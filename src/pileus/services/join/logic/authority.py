"""The cloud's own certificate authority. It is derived from a secret of the cloud: every controller is the same one.

Nothing of it is stored, so nothing of it can be lost or disagree. The signature (Ed25519) and all fields of its
certificate follow from the secret and the cloud's name; so does its fingerprint, which join tokens carry.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_NAME = "join.pileus"
"""What a controller's certificate is for, wherever it is reached: addresses change, the authority vouches."""
FROM, UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
SERVER_VALID_DAYS = 30
HOST_VALID_DAYS = 3_650  # nothing renews them yet
SKEW = timedelta(days=1)  # clocks of new hosts may be wrong
MAX_NAME_CHARS = 64


class UnfitRequest(ValueError):
    """A request for a certificate that is not granted."""


class Authority:
    """secret: of the cloud, any text. cloud: its name, for people who look at certificates."""

    def __init__(self, secret: str, cloud: str) -> None:
        seed = hashlib.sha256(secret.encode()).digest()
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._name = _name(f"{cloud} hosts")
        number = int.from_bytes(hashlib.sha256(b"serial " + seed).digest()[:15])
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = _builder(self._name, self._name, self._key.public_key(), number, FROM, UNTIL)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._certificate = builder.add_extension(usage, critical=True).sign(self._key, None)

    @property
    def certificate(self) -> bytes:
        """PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """See `fingerprint`."""
        return fingerprint(self.certificate)

    def serve(self, now: datetime) -> bytes:
        """A new private key and its certificate for a controller's own port, PEM, one after the other."""
        key = new_key()
        until = now + timedelta(days=SERVER_VALID_DAYS)
        certificate = self._sign(key.public_key(), SERVER_NAME, now, until, ExtendedKeyUsageOID.SERVER_AUTH)
        return private_pem(key) + certificate

    def admit(self, request: x509.CertificateSigningRequest, host: str, now: datetime) -> bytes:
        """A host's certificate, PEM; its name is the one given here, whatever the request says."""
        return self._sign(
            request.public_key(), host, now, now + timedelta(days=HOST_VALID_DAYS), ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.CLIENT_AUTH,
        )

    def _sign(
        self, key: CertificatePublicKeyTypes, name: str, now: datetime, until: datetime, *uses: x509.ObjectIdentifier
    ) -> bytes:
        builder = _builder(_name(name), self._name, key, x509.random_serial_number(), now - SKEW, until)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        return builder.sign(self._key, None).public_bytes(Encoding.PEM)


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (PEM) as base64url, 43 characters. Raises ValueError."""
    raw = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new private key of a host."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """For a file of its owner only."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def request_for(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """A request for a certificate, PEM, signed with the key that it is for."""
    builder = x509.CertificateSigningRequestBuilder(_name(name))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def read_request(pem: str) -> tuple[x509.CertificateSigningRequest, str]:
    """A request whose sender has the private key, and its public key's SHA-256 in hex. Raises UnfitRequest."""
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
        if not request.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
            raise UnfitRequest("not signed by the key that it names, or a key of another kind")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnfitRequest(str(error)) from error
    raw = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return request, hashlib.sha256(raw).hexdigest()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, number: int, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(issuer, subject, key, number, since, until)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:MAX_NAME_CHARS])])
