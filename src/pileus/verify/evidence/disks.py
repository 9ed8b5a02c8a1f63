"""What lies on this host's disks for servers and images."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pileus.services.compute.worker.journal import Record
from pileus.services.compute.worker.paths import AgentPaths, is_uuid

PART = ".part"


class InstanceRecord(msgspec.Struct, frozen=True):
    """A server's directory. files: bytes by name. base: the cached image under its disk, as its journal says."""

    server_id: str
    files: dict[str, int]
    phase: str = ""
    base: str | None = None


class ObjectRecord(msgspec.Struct, frozen=True):
    """An object of the image store, bytes as stored. is_whole: False while (or since) it is written."""

    key: str
    size: int
    is_whole: bool


class DiskRecords(msgspec.Struct, frozen=True):
    """instances: by server. bases: names of cached images."""

    instances: dict[str, InstanceRecord]
    bases: frozenset[str]


def read(guests_dir: Path) -> DiskRecords:
    """Raises OSError."""
    paths = AgentPaths(guests_dir)
    instances = {name: _instance(paths, name) for name in _names(paths.instances) if is_uuid(name)}
    bases = frozenset(name for name in _names(paths.base) if not name.startswith("."))
    return DiskRecords(instances, bases)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _instance(paths: AgentPaths, server_id: str) -> InstanceRecord:
    files = _sizes(paths.server(server_id).directory)
    try:
        record = msgspec.json.decode(paths.server(server_id).journal.read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return InstanceRecord(server_id, files)
    return InstanceRecord(server_id, files, record.phase, record.base)


def _sizes(directory: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    found[entry.name] = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        pass
    return found


def read_objects(directory: Path) -> dict[str, ObjectRecord]:
    """The objects of an image store, by key. Raises OSError: a store that is not there is not an empty one."""
    if not directory.is_dir():
        raise FileNotFoundError(f"there is no directory {directory}")
    found: dict[str, ObjectRecord] = {}
    for name, size in sorted(_sizes(directory).items(), reverse=True):  # a whole one replaces its own part
        key = name.removesuffix(PART)
        if is_uuid(key):
            found[key] = ObjectRecord(key, size, key == name)
    return found
