"""Secrets of a cloud: derived from its cluster key, or written down by name. All in files for their owner only.

Whoever holds the cluster key (`cluster.key`: every controller) knows every secret of the cloud without asking anybody.
A secret that `secrets.json` names is the one written there: clouds that are older than the key go on with theirs. A
host that only runs agents has no key, only a `secrets.json` with what its roles need.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from pileus.kernel.config import ConfigError
from pileus.kernel.host import durable

FILE = "secrets.json"
KEY_FILE = "cluster.key"
LOCK = "secrets.lock"
KEY_BYTES = 32
ADMIN_PASSWORD = "admin-password"
PURPOSE = b"pileus secret 1: "
"""Goes before the name: the key may serve other purposes, with other words, without their results ever meeting."""


class NoClusterKey(ConfigError):
    """This host runs agents only; it has no cluster key and must not make one."""


def secret(state_dir: Path, name: str) -> str:
    """The secret of that name: as written down, else derived. Raises ConfigError where it cannot be known."""
    written = overriding(state_dir).get(name)
    if written is not None:
        return written
    try:
        return derived(cluster_key(state_dir), name)
    except NoClusterKey as error:
        raise NoClusterKey(f"the secret {name!r} is not in {state_dir / FILE}, and {error}") from None


def service_password(service_type: str) -> str:
    """The name of the password of a service's own user."""
    return f"service-password-{service_type}"


def derived(key: bytes, name: str) -> str:
    """HMAC-SHA256 of the name under the cluster key, as base64url without padding (43 characters)."""
    digest = hmac.digest(key, PURPOSE + name.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def overriding(state_dir: Path) -> dict[str, str]:
    """The secrets that are written down, by name."""
    path = state_dir / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is damaged: {error}") from error


def known(state_dir: Path, names: Iterable[str]) -> dict[str, str]:
    """Those that this host can know, by name; nothing is made. names: of secrets that are derived where they can be."""
    path = state_dir / KEY_FILE
    key = _checked(path, path.read_bytes()) if path.exists() else None
    return ({name: derived(key, name) for name in names} if key else {}) | overriding(state_dir)


def cluster_key(state_dir: Path) -> bytes:
    """The cloud's key, made at the first start. Processes of a cloud may ask at the same time. Raises ConfigError."""
    path = state_dir / KEY_FILE
    try:
        return _checked(path, path.read_bytes())
    except FileNotFoundError:
        return _make_key(state_dir)


def is_controller(state_dir: Path) -> bool:
    """Whether this host holds the cluster key, or is the one to make it."""
    if (state_dir / KEY_FILE).exists() or not (state_dir / FILE).exists():
        return True
    return ADMIN_PASSWORD in overriding(state_dir)  # of an older cloud; a host of agents is never given it


def _make_key(state_dir: Path) -> bytes:
    path = state_dir / KEY_FILE
    lock = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for one small write; it goes with the process
        if path.exists():
            return _checked(path, path.read_bytes())
        if not is_controller(state_dir):
            raise NoClusterKey(f"this host has no {KEY_FILE}: it was made for agents only")
        key = secrets.token_bytes(KEY_BYTES)
        write_private(path, key)
        return key
    finally:
        os.close(lock)


def _checked(path: Path, key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} is damaged: it has {len(key)} bytes, not {KEY_BYTES}")
    return key


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one that only its owner can read; a crash leaves the old one whole."""
    durable.write(path, content)
