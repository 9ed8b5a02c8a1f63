"""The config drive: a small FAT file system labelled config-2, read-only to the guest."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path, PurePosixPath
from typing import Final

from pileus.kernel.host import durable
from pileus.kernel.host.command import run
from pileus.services.compute.rpc import MAX_CONFIG_DRIVE_BYTES, ConfigDriveFile
from pileus.services.compute.worker.build import Build
from pileus.services.compute.worker.faults import ServerFault

LABEL: Final = "config-2"
SIZE_KIB: Final = 64 * 1024  # sparse; what cloud-init and others have always been given
COMMAND_TIMEOUT_S: Final = 60.0


class ConfigDrive:
    """Writes the files into a tree, copies the tree into the file system. Only if the spec has files."""

    name = "config drive"

    async def apply(self, build: Build) -> None:
        files, target = build.spec.config_drive, build.paths.config_drive
        if not files:
            return
        tree, new = _tree(target), _unfinished(target)
        try:
            await asyncio.to_thread(_write_tree, tree, files)
            new.unlink(missing_ok=True)
            make = ("mkfs.vfat", "-n", LABEL, "-C", str(new), str(SIZE_KIB))
            await run(make, timeout_s=COMMAND_TIMEOUT_S)
            tops = sorted(str(path) for path in tree.iterdir())
            await run(("mcopy", "-s", "-Q", "-i", str(new), *tops, "::"), timeout_s=COMMAND_TIMEOUT_S)
            new.chmod(0o600)
            await asyncio.to_thread(durable.publish, new, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, tree, ignore_errors=True)

    async def undo(self, build: Build) -> None:
        target = build.paths.config_drive
        target.unlink(missing_ok=True)
        _unfinished(target).unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, _tree(target), ignore_errors=True)


def _write_tree(tree: Path, files: tuple[ConfigDriveFile, ...]) -> None:
    if sum(len(file.data) for file in files) > MAX_CONFIG_DRIVE_BYTES:
        raise ServerFault("driver_failed", "The config drive's contents are too large.")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(mode=0o700)
    for file in files:
        parts = PurePosixPath(file.path).parts
        if not parts or any(part in ("/", "..", ".") or "\\" in part or not part.isprintable() for part in parts):
            raise ServerFault("driver_failed", f"{file.path!r} is not a path inside the config drive.")
        path = tree.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)


def _tree(target: Path) -> Path:
    return target.with_name(target.name + ".tree")


def _unfinished(target: Path) -> Path:
    return target.with_name(target.name + ".new")
