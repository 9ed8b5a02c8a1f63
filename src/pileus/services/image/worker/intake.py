"""Takes in an image's bytes: one pass in which they are counted, judged by the format gate, hashed and stored.

Memory is bounded to a few blocks, however fast the sender is. Hashing runs in threads: sha512 and md5 of one block side
by side with storing it, while the next block arrives.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from pileus.kernel.host.image_format import RAW_LIKE, FormatInspector, ImageFacts, ImageFormatError, check_safe
from pileus.services.image.drivers.store.interface import NoSpace, StoreError, Writer
from pileus.services.image.errors import (
    ContentRefused,
    SizeMismatch,
    StoreFailed,
    StoreFull,
    TooLarge,
    UploadStalled,
)

BLOCK_BYTES: Final = 1024 * 1024
HASH_ALGORITHM: Final = "sha512"
HASH_THREADS: Final = 4

_threads = ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="image-hash")


class Expected(msgspec.Struct, frozen=True):
    """What an upload must keep to. Sizes in bytes; size None when it was not announced.

    enforce_format: refuse content that is not `disk_format` or unsafe; otherwise it is only looked at.
    """

    image_id: str
    disk_format: str
    size: int | None
    max_bytes: int
    max_virtual_bytes: int
    enforce_format: bool
    idle_s: float


class Received(msgspec.Struct, frozen=True):
    """What arrived."""

    size: int
    virtual_size: int | None
    md5: str
    sha512: str


async def take_in(stream: AsyncIterator[bytes], writer: Writer, expected: Expected) -> Received:
    """Store a stream. Returns when every byte is durable; on any error nothing of it remains in the store."""
    try:
        try:
            received = await _Intake(writer, expected).run(stream)
            await writer.commit()
        except NoSpace as error:
            raise StoreFull(detail=str(error)) from error
        except StoreError as error:
            raise StoreFailed(detail=str(error)) from error
    except BaseException:
        await writer.abort()
        raise
    return received


class _Intake:
    def __init__(self, writer: Writer, expected: Expected) -> None:
        self._writer = writer
        self._expected = expected
        self._inspector = FormatInspector()
        self._judged = False
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha512 = hashlib.sha512()

    async def run(self, stream: AsyncIterator[bytes]) -> Received:
        working: asyncio.Future[Any] | None = None
        try:
            async for block in self._blocks(stream):
                if working is not None:
                    await working
                working = asyncio.ensure_future(self._work(block))
            if working is not None:
                await working
        except BaseException:
            if working is not None:
                await asyncio.wait([working])
                if not working.cancelled():
                    working.exception()
            raise
        size = self._inspector.total_bytes
        if self._expected.size is not None and size != self._expected.size:
            raise SizeMismatch(announced=self._expected.size, received=size)
        return Received(size, self._judge(), self._md5.hexdigest(), self._sha512.hexdigest())

    async def _work(self, block: bytes) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            loop.run_in_executor(_threads, self._sha512.update, block),
            loop.run_in_executor(_threads, self._md5.update, block),
            self._writer.write(block),
        )

    async def _blocks(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The stream in blocks, checked while it comes in: the first bad byte ends it."""
        pending: list[bytes] = []
        length = 0
        while (chunk := await self._next(stream)) is not None:
            self._inspector.feed(chunk)
            if self._inspector.total_bytes > self._expected.max_bytes:
                raise TooLarge(limit=self._expected.max_bytes)
            if self._expected.size is not None and self._inspector.total_bytes > self._expected.size:
                raise SizeMismatch(announced=self._expected.size, received=self._inspector.total_bytes)
            if self._inspector.ready and not self._judged:
                self._judge()
                self._judged = True
            pending.append(chunk)
            length += len(chunk)
            if length >= BLOCK_BYTES:
                yield b"".join(pending)
                pending, length = [], 0
        if pending:
            yield b"".join(pending)

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(self._expected.idle_s):
                return await anext(stream)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise UploadStalled(seconds=f"{self._expected.idle_s:g}") from None

    def _judge(self) -> int | None:
        """Ask the gate about what has arrived. Returns the virtual size, as far as it is known."""
        declared = self._expected.disk_format.lower()
        try:
            facts = self._inspector.facts()
            if self._expected.enforce_format:
                check_safe(facts, declared, max_virtual_bytes=self._expected.max_virtual_bytes)
        except ImageFormatError as error:
            if self._expected.enforce_format:
                raise ContentRefused(reason=str(error)) from error
            return None
        return facts.virtual_size if _is_of(facts, declared) else None


def _is_of(facts: ImageFacts, declared: str) -> bool:
    return facts.format == declared or (declared in RAW_LIKE and facts.format in ("raw", "iso"))
