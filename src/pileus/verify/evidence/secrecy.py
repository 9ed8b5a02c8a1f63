"""What others on this host could read that they must not: secrets in logs, files that are open to everybody."""

from __future__ import annotations

import base64
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from pileus.kernel.process import secrets
from pileus.verify.installation import Installation

READ_BYTES = 4 * 2**20
OVERLAP_BYTES = 4_096  # a secret may lie across two blocks
SHORTEST_SECRET = 12
DERIVED = (secrets.ADMIN_PASSWORD, "cache", "demo-password", "token-keys", "host-authority")
"""Secrets that only their name in the code says, besides the passwords of the services' users."""
OTHERS_READ, OTHERS_ENTER = 0o004, 0o001

SHAPES: dict[str, bytes] = {
    "token": rb"gAAAAA[A-Za-z0-9_\-]{60,}=*",
    "private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
}
"""Secrets that are known by how they look."""

SECRET_FILES: tuple[tuple[str, str], ...] = (
    (secrets.KEY_FILE, "the cloud's key"),
    (secrets.FILE, "the cloud's passwords"),
    ("clouds.yaml", "a password"),
    ("openrc", "a password"),
    ("demo_key", "a private key"),
    ("db/*", "a database"),
    ("identity/**/*", "keys of tokens"),
    ("host/*.key", "a private key"),
    ("join/*", "a private key"),
    ("log/*", "a log"),
)
"""In the state directory. Guests' files and images have tables of their own, because they may lie elsewhere."""
GUEST_FILES = (("disk*", "a guest's disk"), ("console.log", "a guest's console"), ("journal.json", "a guest's journal"))


class LeakRecord(msgspec.Struct, frozen=True):
    """A secret in a log. secret: which, in words, never the secret itself. times: how often."""

    path: str
    secret: str
    times: int


class ExposedRecord(msgspec.Struct, frozen=True):
    """A file that every user of the host can read. mode: permission bits."""

    path: str
    content: str
    mode: int


def secrets_of(installation: Installation) -> dict[str, bytes]:
    """The cloud's own secrets by what they are."""
    state_dir = installation.state_dir
    derived = (*DERIVED, *(secrets.service_password(kind) for kind in installation.services))
    known = secrets.known(state_dir, derived)
    found = {f"secret {name}": value.encode() for name, value in known.items()}
    if (key_file := state_dir / secrets.KEY_FILE).exists():
        found["cluster key"] = key_file.read_bytes()
        found["cluster key in base64"] = base64.urlsafe_b64encode(found["cluster key"]).rstrip(b"=")
    # Before their first start with this version older clouds have the keys of tokens here, not in the database.
    for path in sorted((state_dir / "identity").rglob("*")):
        if path.is_file() and path.name.isdecimal():
            found[f"token key {path.name}"] = path.read_bytes().strip()
    for table, settings in installation.tables.items():
        for name, value in settings.items():
            if isinstance(value, str) and "://" in value and (password := urlsplit(value).password):
                found[f"password of [{table}] {name}"] = unquote(password).encode()
    return {name: value for name, value in found.items() if len(value) >= SHORTEST_SECRET}


def patterns(installation: Installation) -> dict[str, re.Pattern[bytes]]:
    """What to look for, by what it is."""
    exact = {name: re.escape(value) for name, value in secrets_of(installation).items()}
    return {name: re.compile(text) for name, text in {**SHAPES, **exact}.items()}


def logs_of(installation: Installation) -> list[Path]:
    """The logs of this cloud's processes on this host. Consoles are the guests' own."""
    found = [*(installation.state_dir / "log").glob("*"), *(installation.guests_dir / "libvirt").glob("*.log")]
    if installation.has_real_networks:
        found += installation.dhcp_dir.glob("*/log")
    return sorted(path for path in found if path.is_file())


def read_leaks(installation: Installation) -> tuple[LeakRecord, ...]:
    """All logs, from beginning to end. Raises OSError."""
    wanted = patterns(installation)
    return tuple(
        LeakRecord(str(path), name, len(places))
        for path in logs_of(installation)
        for name, places in places_of(path, wanted).items()
    )


def places_of(path: Path, wanted: dict[str, re.Pattern[bytes]]) -> dict[str, dict[int, int]]:
    """Length by first byte of each secret in a file, by which secret it is."""
    found: dict[str, dict[int, int]] = {}
    with path.open("rb") as file:
        at, kept = 0, b""
        while block := file.read(READ_BYTES):
            text = kept + block
            start = at - len(kept)
            for name, pattern in wanted.items():
                # One that was cut at the end of a block is found whole, at the same place, with the next.
                if places := {start + match.start(): len(match[0]) for match in pattern.finditer(text)}:
                    found.setdefault(name, {}).update(places)
            at += len(block)
            kept = text[-OVERLAP_BYTES:]
    return found


def read_exposed(installation: Installation) -> tuple[ExposedRecord, ...]:
    """Secret files that others can read and reach from the state directory down. Raises OSError."""
    state_dir = installation.state_dir
    places: list[tuple[Path, str, str]] = [(state_dir, glob, content) for glob, content in SECRET_FILES]
    places += [(installation.guests_dir, f"instances/*/{glob}", content) for glob, content in GUEST_FILES]
    places.append((installation.store_dir, "*", "an image"))
    return tuple(record for root, glob, content in places for record in _exposed(root, root.glob(glob), content))


def _exposed(root: Path, paths: Iterable[Path], content: str) -> Iterator[ExposedRecord]:
    closed: dict[Path, bool] = {}
    for path in paths:
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & OTHERS_READ:
            continue
        if path.parent not in closed:
            closed[path.parent] = _is_closed(root, path.parent)
        if not closed[path.parent]:
            yield ExposedRecord(str(path), content, stat.S_IMODE(status.st_mode))


def _is_closed(root: Path, directory: Path) -> bool:
    """Whether others cannot get from the root into the directory."""
    levels = [directory, *directory.parents]
    inside = levels[: levels.index(root) + 1] if root in levels else levels[:1]
    return any(not level.stat().st_mode & OTHERS_ENTER for level in inside)
