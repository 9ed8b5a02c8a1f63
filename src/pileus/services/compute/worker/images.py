"""The image cache: one read-only base per image, downloaded once however many servers ask for it.

Nothing half-way is ever used: a download goes to a temporary name, passes the format gate before any tool
opens it, is unpacked to raw, synced, made read-only and only then renamed to its final name. A base is never
written again; servers put thin overlays over it.

Bases are raw, whatever was uploaded: guests share their pages in the host's page cache, and no QEMU that serves a
guest ever parses a header that a user made. It costs one conversion per image and host (0.4 s for a guest image of
128 MiB) and the unpacked size on disk, holes excepted; guests boot equally fast from either, within noise.

A download is bounded in three ways: by silence, by an average speed, and by the room on the disk. Whichever it meets,
all who wait for it get the same fault, its files go, and the next request begins anew. It ends as well when the last
of them gives up.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from pileus.kernel.host import qemu_img
from pileus.kernel.host.command import CommandError
from pileus.kernel.host.image_format import RAW_LIKE
from pileus.services.compute.rpc import ImageRef
from pileus.services.compute.worker import disk_room
from pileus.services.compute.worker.download import Download, ImageSource, Pace, in_thread
from pileus.services.compute.worker.faults import ServerFault, fault_of
from pileus.services.compute.worker.paths import is_uuid

log = logging.getLogger(__name__)

ROOM_CHECK_S: Final = 0.5  # how often a running conversion is compared with the room that is left
_HASH_PREFIX_CHARS: Final = 16
_READ_ONLY: Final = 0o444
_CONVERTED: Final[dict[str, qemu_img.Format]] = {"qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vhd", "vdi": "vdi"}


class CachedImage(msgspec.Struct, frozen=True):
    """A base in the cache. It is raw; `size_bytes` is its virtual size."""

    path: Path
    size_bytes: int

    @property
    def name(self) -> str:
        return self.path.name


class _Fetch:
    """One download and how many wait for it."""

    def __init__(self, task: asyncio.Task[CachedImage]) -> None:
        self.task = task
        self.waiting = 0


class ImageCache:
    """The `_base` directory of one host."""

    def __init__(self, directory: Path, source: ImageSource, pace: Pace | None = None) -> None:
        self._directory = directory
        self._source = source
        self._pace = pace or Pace()
        self._fetching: dict[str, _Fetch] = {}
        self._numbers = itertools.count(1)

    def discard_partial(self) -> None:
        """Remove what interrupted downloads left. Only at start, before any `fetch`."""
        for path in self._directory.glob(".*"):
            path.unlink()

    def names(self) -> tuple[str, ...]:
        """The bases that are complete."""
        return tuple(sorted(path.name for path in self._directory.iterdir() if not path.name.startswith(".")))

    def path(self, name: str) -> Path:
        return self._directory / name

    async def fetch(self, image: ImageRef) -> CachedImage:
        """The image's base, downloading it if it is not here. Raises ServerFault (image_*, no_space) or OSError.

        Concurrent calls share one download, which goes on when one of its callers gives up, and ends when all did.
        """
        name = _name(image)
        path = self._directory / name
        try:
            os.utime(path)
            return CachedImage(path, path.stat().st_size)
        except FileNotFoundError:
            pass
        fetch = self._fetching.get(name) or self._begin(image, path)
        fetch.waiting += 1
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiting -= 1
            if not fetch.waiting and not fetch.task.done():
                self._forget(name, fetch)
                fetch.task.cancel()

    def _begin(self, image: ImageRef, path: Path) -> _Fetch:
        task = asyncio.create_task(self._download(image, path), name=f"image {image.id}")
        fetch = self._fetching[path.name] = _Fetch(task)
        task.add_done_callback(lambda _: self._fetched(path.name, fetch))
        return fetch

    def _fetched(self, name: str, fetch: _Fetch) -> None:
        self._forget(name, fetch)
        if fetch.task.cancelled():
            log.info("image %s: nobody waits for it any more", name)
        elif fetch.task.exception() is not None:
            log.warning("image %s was not cached: %s", name, fetch.task.exception())

    def _forget(self, name: str, fetch: _Fetch) -> None:
        if self._fetching.get(name) is fetch:
            del self._fetching[name]

    async def close(self) -> None:
        """Stop downloads."""
        tasks = [fetch.task for fetch in self._fetching.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def expire(self, in_use: Iterable[str], unused_s: float) -> tuple[str, ...]:
        """Delete bases that no server uses and nobody asked for in the last `unused_s` seconds. The names
        deleted."""
        keep, oldest = set(in_use), time.time() - unused_s
        expired = [name for name in self.names() if name not in keep and self.path(name).stat().st_mtime <= oldest]
        for name in expired:
            self.path(name).unlink(missing_ok=True)
        return tuple(expired)

    # -- download --------------------------------------------------------------------------------------------

    async def _download(self, image: ImageRef, path: Path) -> CachedImage:
        number = next(self._numbers)  # an attempt that was just given up may still be removing its files
        part, unpacked = (path.with_name(f".{path.name}.{number}.{kind}") for kind in ("part", "raw"))
        packed_as = _CONVERTED.get(image.disk_format)
        deadline = asyncio.get_running_loop().time() + self._pace.longest_s(image.size_bytes)
        try:
            if packed_as and image.size_bytes:  # a raw image may have holes: nobody knows what it takes
                disk_room.require(self._directory, 2 * image.size_bytes, "the image")
            await Download(self._source, image, part, self._pace).run(deadline)
            if packed_as:
                await self._unpack(part, packed_as, unpacked, deadline)
            await in_thread(_publish, unpacked if packed_as else part, path)
        except OSError as error:
            if fault_of(error).code == "no_space":
                raise disk_room.refusal(self._directory, image.size_bytes or 0, "the image") from error
            raise
        finally:
            for leftover in (part, unpacked):
                leftover.unlink(missing_ok=True)
        return CachedImage(path, path.stat().st_size)

    async def _unpack(self, packed: Path, packed_as: qemu_img.Format, target: Path, deadline: float) -> None:
        """Convert to raw. How much a packed image holds is known at the end only, and a hostile one unpacks to
        anything: the room is watched meanwhile."""
        working = asyncio.create_task(qemu_img.convert(packed, packed_as, target, "raw"))
        try:
            async with asyncio.timeout_at(deadline):
                while not working.done():
                    await asyncio.wait({working}, timeout=ROOM_CHECK_S)
                    if not working.done():
                        disk_room.require(self._directory, 0, "unpacking the image")
            working.result()
        except TimeoutError as error:
            message = "The image could not be unpacked in time."
            raise ServerFault("image_unavailable", message, retryable=True) from error
        except CommandError as error:
            if fault_of(error).code == "no_space":
                raise disk_room.refusal(self._directory, 0, "unpacking the image") from error
            message = "The image could not be unpacked; it may be damaged."
            raise ServerFault("image_unavailable", message, detail=str(error), retryable=True) from error
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait({working})


def _name(image: ImageRef) -> str:
    if not is_uuid(image.id):
        raise ServerFault("image_unavailable", f"{image.id!r} is not an image id.")
    if image.disk_format not in _CONVERTED and image.disk_format not in (*RAW_LIKE, "iso"):
        raise ServerFault("image_unsafe", f"Images in {image.disk_format} format cannot be used by servers.")
    known = image.hash_value.lower()[:_HASH_PREFIX_CHARS]
    return f"{image.id}-{known if known.isalnum() else 'unknown'}"


def _publish(source: Path, target: Path) -> None:
    source.chmod(_READ_ONLY)
    descriptor = os.open(source, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    source.rename(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
