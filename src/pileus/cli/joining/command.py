"""The steps of joining. Each may be run again: the cloud knows the host by its key, which is made once."""

from __future__ import annotations

import base64
import binascii
import getpass
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from pileus.cli.joining import controller
from pileus.cli.joining.controller import NotJoined
from pileus.cli.joining.membership import AUTHORITY, CERTIFICATE, HostFiles, Membership
from pileus.cli.layout import SYSTEM_CONFIG, Layout
from pileus.kernel.config import over
from pileus.kernel.config.writer import to_toml
from pileus.kernel.process import secrets
from pileus.kernel.process.state_dir import make_state_dir
from pileus.services.join import rpc
from pileus.services.join.logic import authority, grant, join_token
from pileus.services.join.logic.join_token import MAX_CHARS, JoinToken, MalformedToken

STDIN = "-"


def join(layout: Layout, word: str, token_file: str | None, host: str | None) -> int:
    """Join with the token that is `word`, or comes from a file, or from the standard input; 2 when it is none."""
    try:
        token = join_token.read(_token_text(word, token_file))
    except MalformedToken as error:
        print(f"pileus: {error}", file=sys.stderr)
        return 2
    name = host or layout.tables.get("node", {}).get("host") or socket.gethostname()
    if not grant.HOST.fullmatch(name):
        raise NotJoined(f"{name!r} cannot be a host's name: letters, digits, dots and dashes, 64 at most; give --host")
    files = HostFiles(layout.state_dir)
    files.check_free(token, name)
    certificate = controller.authority_of(token)
    make_state_dir(layout.state_dir)
    files.remember(Membership(name, token.authority, token.id))
    request = authority.request_for(files.key(), name)
    bundle, address = controller.join(token, certificate, rpc.Join(token.id, token.secret, name, request))
    config = _settle(layout, files, bundle, name, address, token)
    print(f"This machine is host {name} of the cloud {bundle.cloud} now.")
    print(f"Configuration  {config}")
    print(f"Processes      {', '.join(bundle.tables.get('processes', {}))}: `pileus up` starts them")
    return 0


def _token_text(word: str, token_file: str | None) -> str:
    if token_file is not None:
        with Path(token_file).open() as file:
            return file.read(MAX_CHARS + 2)
    if word != STDIN:
        return word
    return getpass.getpass("Join token: ") if sys.stdin.isatty() else sys.stdin.readline(MAX_CHARS + 2)


def _settle(
    layout: Layout, files: HostFiles, bundle: rpc.Bundle, name: str, address: str, token: JoinToken
) -> Path:
    """Write all that the cloud gave; that it is all there comes last. Returns the configuration's path."""
    own = layout.tables.get("node", {})
    if own.get("cloud", bundle.cloud) != bundle.cloud:
        raise NotJoined(f"{layout.config_file} is for the cloud {own['cloud']!r}, the token is of {bundle.cloud!r}")
    files.write(AUTHORITY, bundle.authority.encode())
    files.write(CERTIFICATE, bundle.certificate.encode())
    if bundle.cluster_key is not None:
        secrets.write_private(layout.state_dir / secrets.KEY_FILE, _key(bundle.cluster_key))
    if bundle.secrets or bundle.cluster_key is None:
        content = msgspec.json.format(msgspec.json.encode(bundle.secrets))
        secrets.write_private(layout.state_dir / secrets.FILE, content)
    path = layout.config_file or SYSTEM_CONFIG
    path.parent.mkdir(parents=True, exist_ok=True)
    secrets.write_private(path, to_toml(_tables(layout, bundle, name, address)).encode())
    files.remember(Membership(name, token.authority, token.id, is_whole=True))
    return path


def _key(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise NotJoined("the controller sent a damaged cluster key") from error


def _tables(layout: Layout, bundle: rpc.Bundle, name: str, address: str) -> dict[str, Any]:
    """What the cloud says, what only this host knows, and over both what its configuration says already."""
    here: dict[str, Any] = {"node": {"host": name, "state_dir": str(layout.state_dir)}}
    processes = bundle.tables.get("processes", {}).values()
    if any("port" in process for process in processes):
        here["node"]["listen"] = address
    if any(role.startswith("network-") for process in processes for role in process["roles"]):
        here["network"] = {"tunnel_ip": address}
    if any("compute-agent" in process["roles"] for process in processes):
        here["compute"] = {"agent": {"host_ip": address}}
    merged = over(over(bundle.tables, here), layout.tables)
    merged["node"]["host"] = name  # which the certificate is for
    return merged
