"""The server's image, kernel and ramdisk in the cache."""

from __future__ import annotations

from pileus.services.compute.worker.build import Build


class Image:
    """Fetches what is missing. Nothing to undo: the cache deletes what nobody uses."""

    name = "image"

    async def apply(self, build: Build) -> None:
        spec = build.spec
        if spec.image is not None and build.base is None:
            build.base = await build.images.fetch(spec.image)
        if spec.kernel is not None and build.kernel is None:
            build.kernel = await build.images.fetch(spec.kernel)
        if spec.ramdisk is not None and build.ramdisk is None:
            build.ramdisk = await build.images.fetch(spec.ramdisk)

    async def undo(self, build: Build) -> None:
        build.base = build.kernel = build.ramdisk = None
