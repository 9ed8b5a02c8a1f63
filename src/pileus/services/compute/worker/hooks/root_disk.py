"""The root disk: a thin overlay over the image's base, or an empty disk."""

from __future__ import annotations

import asyncio

from pileus.kernel.host import durable, qemu_img
from pileus.services.compute.worker.build import Build
from pileus.services.compute.worker.faults import ServerFault

GIB = 2**30


class RootDisk:
    """Makes the disk once, under a temporary name so that a disk that is there is a whole one. An existing
    disk is kept."""

    name = "root disk"

    async def apply(self, build: Build) -> None:
        path = build.paths.root_disk
        size_bytes = build.spec.flavor.root_gib * GIB
        base = build.base
        if base is not None and size_bytes and base.size_bytes > size_bytes:
            raise ServerFault(
                "image_too_big",
                f"The image needs a disk of {-(-base.size_bytes // GIB)} GiB; the flavor's root disk has "
                f"{build.spec.flavor.root_gib} GiB.",
            )
        if path.exists():
            return
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        if base is not None:
            await qemu_img.create_overlay(new, base.path, "raw", size_bytes or base.size_bytes)
        elif size_bytes:
            await qemu_img.create(new, size_bytes)
        else:
            raise ServerFault("image_unavailable", "The server has neither an image nor a root disk size.")
        new.chmod(0o600)  # its name is no secret: it is in the guest's command line
        await asyncio.to_thread(durable.publish, new, path)

    async def undo(self, build: Build) -> None:
        build.paths.root_disk.unlink(missing_ok=True)
        build.paths.root_disk.with_suffix(".new").unlink(missing_ok=True)
