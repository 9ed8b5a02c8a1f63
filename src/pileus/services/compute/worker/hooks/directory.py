"""The server's own directory."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

from pileus.kernel.host import durable
from pileus.services.compute.worker.build import Build

_ENTER_ONLY = 0o711


class Directory:
    """Makes the directory; its undo deletes it with everything in it."""

    name = "directory"

    async def apply(self, build: Build) -> None:
        build.paths.directory.mkdir(exist_ok=True)
        build.paths.directory.chmod(_ENTER_ONLY)
        await asyncio.to_thread(durable.sync, build.paths.directory.parent)

    async def undo(self, build: Build) -> None:
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(shutil.rmtree, build.paths.directory)
