"""What a host writes down of the cloud that it belongs to: `host/` in its state directory."""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pileus.cli.joining.controller import NotJoined
from pileus.kernel.process import secrets
from pileus.services.join.logic import authority
from pileus.services.join.logic.join_token import JoinToken

DIRECTORY = "host"
FILE, KEY, CERTIFICATE, AUTHORITY = "membership.json", "host.key", "host.crt", "authority.crt"
SIGNS = (secrets.KEY_FILE, secrets.FILE, "db")
"""In a state directory these show that it is of some cloud."""


class Membership(msgspec.Struct, frozen=True):
    """authority: fingerprint of the cloud's. token: id of the one it joined with, or tries to. is_whole: all that the
    cloud gave is on the disk."""

    host: str
    authority: str
    token: str
    is_whole: bool = False


class HostFiles:
    """The files of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self.directory = state_dir / DIRECTORY

    def check_free(self, token: JoinToken, host: str) -> None:
        """Raises NotJoined when the directory is another cloud's, or this host is in the cloud already."""
        known = self.membership()
        if known is None or known.authority != token.authority:
            if found := [name for name in SIGNS if (self._state_dir / name).exists()]:
                raise NotJoined(
                    f"{self._state_dir} belongs to another cloud (there is {found[0]}); give --state-dir, or remove "
                    "that cloud with `pileus down --purge --state --yes`"
                )
        elif known.is_whole and (known.token, known.host) != (token.id, host):
            raise NotJoined(f"this machine is host {known.host} of that cloud already; `pileus up` starts its roles")

    def membership(self) -> Membership | None:
        """What is written down; None when nothing is. Raises NotJoined when it is damaged."""
        path = self.directory / FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=Membership)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise NotJoined(f"{path} is damaged: {error}") from error

    def write(self, name: str, content: bytes) -> None:
        """Write one of the files, for its owner only."""
        secrets.write_private(self.directory / name, content)

    def remember(self, membership: Membership) -> None:
        """Write down how far it is."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.write(FILE, msgspec.json.encode(membership))

    def key(self) -> ec.EllipticCurvePrivateKey:
        """This host's private key: made once, never sent anywhere."""
        path = self.directory / KEY
        if not path.exists():
            self.write(KEY, authority.private_pem(authority.new_key()))
        try:
            found = load_pem_private_key(path.read_bytes(), None)
        except ValueError as error:
            raise NotJoined(f"{path} is damaged: {error}") from error
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise NotJoined(f"{path} is damaged: it holds a key of another kind")
        return found
