"""The flavor's ephemeral and swap disks: sparse raw files, formatted so that a guest can use them at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pileus.kernel.host import durable
from pileus.kernel.host.command import run
from pileus.services.compute.worker.build import Build

GIB: Final = 2**30
MIB: Final = 2**20
FORMAT_TIMEOUT_S: Final = 120.0


class LocalDisks:
    """Makes each disk once; existing ones are kept."""

    name = "local disks"

    async def apply(self, build: Build) -> None:
        flavor, paths = build.spec.flavor, build.paths
        if flavor.ephemeral_gib:
            make = ("mkfs.ext4", "-q", "-F", "-L", "ephemeral0")
            await _make(paths.ephemeral_disk, flavor.ephemeral_gib * GIB, make)
        if flavor.swap_mib:
            await _make(paths.swap_disk, flavor.swap_mib * MIB, ("mkswap", "--quiet"))

    async def undo(self, build: Build) -> None:
        for path in (build.paths.ephemeral_disk, build.paths.swap_disk):
            path.unlink(missing_ok=True)
            _unfinished(path).unlink(missing_ok=True)


async def _make(path: Path, size_bytes: int, format_command: Sequence[str]) -> None:
    if path.exists():
        return
    new = _unfinished(path)
    with new.open("wb") as file:
        os.ftruncate(file.fileno(), size_bytes)
    new.chmod(0o600)
    await run((*format_command, str(new)), timeout_s=FORMAT_TIMEOUT_S)
    await asyncio.to_thread(durable.publish, new, path)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".new")
