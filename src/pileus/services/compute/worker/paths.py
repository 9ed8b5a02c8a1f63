"""Where the agent keeps its files.

    <root>/_base/<image id>-<hash prefix>    cached images, read-only
    <root>/instances/<server id>/            one server: journal.json, disk, console.log, ...
    <root>/destroyed/<server id>             generation at which a server was destroyed

Directories may be entered but not listed by others, because a system's QEMU runs as a user of its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

_ID: Final = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_ENTER_ONLY: Final = 0o711


class ServerPaths(msgspec.Struct, frozen=True):
    """The files of one server."""

    directory: Path

    @property
    def journal(self) -> Path:
        return self.directory / "journal.json"

    @property
    def root_disk(self) -> Path:
        return self.directory / "disk"

    @property
    def ephemeral_disk(self) -> Path:
        return self.directory / "disk.ephemeral"

    @property
    def swap_disk(self) -> Path:
        return self.directory / "disk.swap"

    @property
    def config_drive(self) -> Path:
        return self.directory / "disk.config"

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"


class AgentPaths(msgspec.Struct, frozen=True):
    """The directories of one agent."""

    root: Path

    @property
    def base(self) -> Path:
        return self.root / "_base"

    @property
    def instances(self) -> Path:
        return self.root / "instances"

    @property
    def destroyed(self) -> Path:
        return self.root / "destroyed"

    def server(self, server_id: str) -> ServerPaths:
        """Raises ValueError for an id that is not a uuid: ids become file names."""
        if not is_uuid(server_id):
            raise ValueError(f"{server_id!r} is not a server id")
        return ServerPaths(self.instances / server_id)

    def make(self) -> None:
        """Create the directories."""
        for directory in (self.root, self.base, self.instances, self.destroyed):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_ENTER_ONLY)


def is_uuid(text: str) -> bool:
    """Whether `text` is a uuid in one of the usual spellings."""
    return _ID.fullmatch(text) is not None
