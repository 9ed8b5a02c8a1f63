"""What the agent remembers of each server: the intent it accepted and how far it got. One small file per
server, replaced whole.

The journal is the agent's only memory. After a restart it is read, the hypervisor is asked what runs, and the
two are made to agree.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Literal

import msgspec

from pileus.kernel.host import durable
from pileus.services.compute.rpc import Fault, ServerSpec
from pileus.services.compute.worker.paths import AgentPaths, is_uuid

log = logging.getLogger(__name__)

TOMBSTONE_S = 7 * 86_400.0  # longer than any message can be under way

Phase = Literal["preparing", "prepared", "destroying"]
Desired = Literal["stopped", "running"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One server. `base` and `kernel`, `ramdisk` are names in the image cache. `rebooted` is the generation
    of the last reboot done. `fault` is set when the agent itself stopped the guest. The spec is kept without
    the config drive's contents."""

    generation: int
    phase: Phase
    desired: Desired
    spec: ServerSpec
    base: str | None = None
    kernel: str | None = None
    ramdisk: str | None = None
    rebooted: int = 0
    fault: Fault | None = None

    @property
    def server_id(self) -> str:
        return self.spec.server_id

    def cached_names(self) -> set[str]:
        """The cached images that this server needs."""
        return {name for name in (self.base, self.kernel, self.ramdisk) if name is not None}


class Journal:
    """All records, in memory and on disk. Writing is atomic and durable: a record is either the old or the
    new one."""

    def __init__(self, paths: AgentPaths) -> None:
        self._paths = paths
        self._records: dict[str, Record] = {}
        self._destroyed: dict[str, int] = {}

    def load(self) -> None:
        """Read everything. A file that cannot be read is reported and left alone: its server can still be destroyed."""
        for directory in sorted(self._paths.instances.iterdir()):
            path = directory / "journal.json"
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
            except FileNotFoundError:
                continue
            except (OSError, msgspec.DecodeError) as error:
                log.error("journal %s cannot be read: %s", path, error)
                continue
            self._records[record.server_id] = record
        for path in self._paths.destroyed.iterdir():
            try:
                self._load_tombstone(path)
            except (OSError, ValueError) as error:
                log.error("tombstone %s cannot be read: %s; late messages are not refused", path, error)

    def _load_tombstone(self, path: Path) -> None:
        if path.stat().st_mtime < time.time() - TOMBSTONE_S or not is_uuid(path.name):
            path.unlink()
        else:
            self._destroyed[path.name] = int(path.read_bytes())

    def get(self, server_id: str) -> Record | None:
        return self._records.get(server_id)

    def all(self) -> tuple[Record, ...]:
        return tuple(self._records.values())

    def destroyed_at(self, server_id: str) -> int | None:
        """The generation at which the server was destroyed here, if it was lately."""
        return self._destroyed.get(server_id)

    def save(self, record: Record) -> Record:
        """Keep the record; its server's directory must exist."""
        bare = msgspec.structs.replace(record, spec=msgspec.structs.replace(record.spec, config_drive=()))
        durable.write(self._paths.server(record.server_id).journal, msgspec.json.encode(bare))
        self._records[record.server_id] = bare
        return bare

    def forget(self, server_id: str) -> None:
        """Drop a server that was not built after all."""
        self._records.pop(server_id, None)
        self._paths.server(server_id).journal.unlink(missing_ok=True)

    def mark_destroyed(self, server_id: str, generation: int) -> None:
        """Drop the server and refuse its late messages from now on."""
        newest = max(generation, self._destroyed.get(server_id, 0))
        durable.write(self._paths.destroyed / server_id, str(newest).encode())
        self._destroyed[server_id] = newest
        self.forget(server_id)
