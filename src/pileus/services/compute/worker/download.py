"""One image's way from the image service into a file, judged and counted while it comes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import msgspec

from pileus.kernel.errors import ServiceError
from pileus.kernel.host.image_format import FormatInspector, ImageFormatError, check_safe
from pileus.services.compute.rpc import ImageRef
from pileus.services.compute.worker import disk_room
from pileus.services.compute.worker.disk_room import MIB, size_text
from pileus.services.compute.worker.faults import ServerFault

P = ParamSpec("P")
T = TypeVar("T")

ImageSource = Callable[[ImageRef], AsyncIterator[bytes]]
"""Opens the byte stream of an image; raises ServiceError, OSError or TimeoutError when it cannot be had."""

WRITE_BYTES: Final = MIB
_HASHES: Final = frozenset({"md5", "sha1", "sha256", "sha384", "sha512"})


class Pace(msgspec.Struct, frozen=True):
    """How slow the image service may be.

    idle_s: a stream that brings nothing for so long is given up. grace_s, slowest_bytes_s: a whole image, unpacking
    included, may take `grace_s` and its size at that speed. most_s: and never longer, so that the conductor, which
    waits for `rpc.PREPARE_TIMEOUT_S`, hears the reason.
    """

    idle_s: float = 60.0
    grace_s: float = 120.0
    slowest_bytes_s: float = 8.0 * MIB
    most_s: float = 1_500.0

    def longest_s(self, size_bytes: int | None) -> float:
        """The time that an image of that size (None: unknown) may take."""
        return min(self.grace_s + size_bytes / self.slowest_bytes_s, self.most_s) if size_bytes else self.most_s


class Download:
    """Writes `image` to the new file `part`. Raises ServerFault (image_*, no_space) or OSError; the file is the
    caller's to remove then."""

    def __init__(self, source: ImageSource, image: ImageRef, part: Path, pace: Pace) -> None:
        self._source = source
        self._image = image
        self._part = part
        self._pace = pace
        self._inspector = FormatInspector()
        self._digest = hashlib.new(image.hash_algo) if image.hash_algo in _HASHES else None

    async def run(self, deadline: float) -> None:
        """Until all is there and is what was registered; `deadline` is in the loop's time."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                await self._receive()
        except TimeoutError as error:
            raise self._undelivered(f"sent {self._progress()} in {loop.time() - begun:.0f} s, too slowly") from error
        size = self._inspector.total_bytes
        if self._image.size_bytes and size != self._image.size_bytes:
            raise self._undelivered(f"ended after {self._progress()}")
        if self._digest is not None and self._digest.hexdigest() != self._image.hash_value.lower():
            raise ServerFault("image_unavailable", "The image's checksum does not match.", retryable=True)

    async def _receive(self) -> None:
        """Write the stream; the gate decides as soon as it has seen the header."""
        judged = False
        with self._part.open("wb", buffering=0) as file:
            async with contextlib.aclosing(self._blocks()) as blocks:
                async for block in blocks:
                    self._inspector.feed(block)
                    if self._inspector.ready and not judged:
                        self._judge()
                        judged = True
                    if self._image.size_bytes and self._inspector.total_bytes > self._image.size_bytes:
                        message = "The image is longer than it was registered with."
                        raise ServerFault("image_unavailable", message)
                    self._check_room(len(block))
                    await in_thread(_write_block, file.fileno(), block)
                    if self._digest is not None:
                        self._digest.update(block)
            os.ftruncate(file.fileno(), self._inspector.total_bytes)
        self._judge()

    def _check_room(self, block_bytes: int) -> None:
        if disk_room.free_bytes(self._part.parent) <= block_bytes:
            missing = (self._image.size_bytes or 0) - self._inspector.total_bytes + block_bytes
            what = "the rest of the image" if missing > 0 else "downloading an image"
            raise disk_room.refusal(self._part.parent, max(missing, 0), what)

    async def _blocks(self) -> AsyncGenerator[bytes, None]:
        """The stream in blocks of about WRITE_BYTES. A sender that stalls is given up."""
        pending = bytearray()
        stream: Any = self._source(self._image)
        try:
            async with contextlib.aclosing(stream):
                while (chunk := await self._next(stream)) is not None:
                    pending += chunk
                    if len(pending) >= WRITE_BYTES:
                        yield bytes(pending)
                        pending.clear()
        except ServiceError as error:
            raise self._undelivered(f"answered with an error ({error.code})", detail=repr(error)) from error
        except OSError as error:
            raise self._undelivered(f"broke off after {self._progress()}", detail=repr(error)) from error
        if pending:
            yield bytes(pending)

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(self._pace.idle_s):
                return await anext(stream)
        except StopAsyncIteration:
            return None
        except TimeoutError as error:
            silence = f"sent nothing for {self._pace.idle_s:g} s, after {self._progress()}"
            raise self._undelivered(silence, detail=repr(error)) from error

    def _judge(self) -> None:
        try:
            check_safe(self._inspector.facts(), self._image.disk_format)
        except ImageFormatError as error:
            raise ServerFault("image_unsafe", f"The image was refused. {error}") from error

    def _progress(self) -> str:
        whole = f" of {size_text(self._image.size_bytes)}" if self._image.size_bytes else ""
        return size_text(self._inspector.total_bytes) + whole

    def _undelivered(self, what: str, *, detail: str = "") -> ServerFault:
        message = f"The image service did not deliver image {self._image.id}: it {what}."
        return ServerFault("image_unavailable", message, detail=detail, retryable=True)


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a blocking call without holding up the loop. It is waited for even when the caller is cancelled: a thread
    must not work on a descriptor that was closed, or on a file that was removed."""
    future = asyncio.get_running_loop().run_in_executor(None, lambda: call(*args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise


def _write_block(descriptor: int, block: bytes) -> None:
    """Append, leaving a hole where there are only zeros."""
    if block.count(0) == len(block):
        os.lseek(descriptor, len(block), os.SEEK_CUR)
        return
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
