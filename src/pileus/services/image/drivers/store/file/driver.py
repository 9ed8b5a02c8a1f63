"""The `file` store: one file per object, named by its key.

An object is written as `<key>.part`, made durable, then renamed: a file without the suffix is always whole. Blocks of
zeros are left out, so that raw images take only the room they need.

Every wait for the disk has a deadline: a network file system may hang. What hangs keeps its thread and its descriptor
until it returns; everybody else is told that the store does not answer. The last of the room is never used up: other
things live on the same disk, such as the databases of a one-machine cloud.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from pileus.services.image.config import ImageConfig
from pileus.services.image.drivers.store.interface import NoSpace, NoSuchObject, StoredObject, StoreError

P = ParamSpec("P")
T = TypeVar("T")

READ_BLOCK_BYTES: Final = 1024 * 1024
IO_THREADS: Final = 4
LIST_BATCH: Final = 256
RESERVE_SHARE: Final = 0.02
MAX_RESERVE_BYTES: Final = 2**30
_PART: Final = ".part"
_KEY: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_threads = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="image-file")


def open_store(config: ImageConfig, state_dir: Path) -> FileStore:
    """The store of this configuration; its directory is made when it is missing."""
    return FileStore(Path(config.store_dir) if config.store_dir else state_dir / "images", config.store_idle_s)


class FileStore:
    """See `Store`. idle_s: how long the disk may take for one thing."""

    def __init__(self, directory: Path, idle_s: float = 60.0) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._disk = _Disk(idle_s)

    async def create(self, key: str) -> _FileWriter:
        path = self._path(key)
        if await self._disk.do(path.exists):
            raise StoreError(f"{key} exists")
        part = path.with_name(path.name + _PART)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return _FileWriter(path, part, await self._disk.open(part, flags, 0o600))

    async def open(self, key: str) -> _FileReader:
        try:
            file = await self._disk.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except NoSuchObject:
            raise NoSuchObject(key) from None
        try:
            return _FileReader(file, (await file.do(os.fstat, file.descriptor)).st_size)
        except BaseException:
            file.close()
            raise

    async def delete(self, key: str) -> None:
        path = self._path(key)
        for name in (path, path.with_name(path.name + _PART)):
            await self._disk.do(lambda name=name: name.unlink(missing_ok=True))

    async def size(self, key: str) -> int | None:
        try:
            return (await self._disk.do(os.stat, self._path(key))).st_size
        except NoSuchObject:
            return None

    async def list(self) -> AsyncIterator[StoredObject]:
        entries = self._entries()
        while batch := await self._disk.do(lambda: list(islice(entries, LIST_BATCH))):
            for entry in batch:
                yield entry

    def details(self) -> Mapping[str, str]:
        return {"data_dir": str(self._directory), "chunk_size": str(READ_BLOCK_BYTES)}

    def _entries(self) -> Iterator[StoredObject]:
        with os.scandir(self._directory) as found:
            for entry in found:
                key = entry.name.removesuffix(_PART)
                if not _KEY.fullmatch(key) or not entry.is_file(follow_symlinks=False):
                    continue  # not ours: an operator's file, a lost+found
                try:
                    stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                yield StoredObject(key, stat.st_size, modified, key == entry.name)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise StoreError(f"{key!r} is not a key")
        return self._directory / key


class _Disk:
    """Makes blocking calls in threads, with a deadline for each."""

    def __init__(self, idle_s: float) -> None:
        self.idle_s = idle_s

    async def do(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the call. Operating system errors become the store's, and so does a missed deadline."""
        return await self.outcome(_threads.submit(call, *args, **kwargs))

    async def outcome(self, work: Future[T]) -> T:
        """What became of `work`, which goes on when nobody waits any more."""
        waiting = asyncio.wrap_future(work)
        waiting.add_done_callback(_look_at_the_outcome)
        await asyncio.wait({waiting}, timeout=self.idle_s)
        if not waiting.done():
            raise StoreError(f"the disk of the image store did not answer within {self.idle_s:g} s")
        try:
            return waiting.result()
        except FileNotFoundError as error:
            raise NoSuchObject(str(error)) from error
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpace(str(error)) from error
            raise StoreError(str(error)) from error

    async def open(self, path: Path, flags: int, mode: int = 0) -> _OpenFile:
        """A descriptor; nobody's when the caller did not wait for it, so it is closed then."""
        opening = _threads.submit(os.open, path, flags, mode)
        try:
            return _OpenFile(self, await self.outcome(opening))
        except BaseException:
            opening.add_done_callback(_close_what_was_opened)
            raise


class _OpenFile:
    """A descriptor. It is closed when no thread is at it: its number may be given to another file at once."""

    def __init__(self, disk: _Disk, descriptor: int) -> None:
        self.descriptor = descriptor
        self._disk = disk
        self._work: Future[Any] | None = None

    def do(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Work on the descriptor, one thing at a time. It begins now, before anybody waits for it."""
        work = self._work = _threads.submit(call, *args, **kwargs)
        return self._disk.outcome(work)

    async def finish(self, call: Callable[[], None]) -> None:
        """Close, then make one last call; at once, or when what hangs has returned."""

        def close_and_call() -> None:
            self._close()
            call()

        if self._work is not None and not self._work.done():
            await asyncio.wait({asyncio.wrap_future(self._work)}, timeout=self._disk.idle_s)
        if self._work is None or self._work.done():
            await self.do(close_and_call)
        else:
            self._work.add_done_callback(lambda _: _threads.submit(close_and_call))

    def close(self) -> None:
        """Nothing is awaited here, so that a cancellation cannot come between."""
        if self._work is None:
            self._close()
        else:
            self._work.add_done_callback(lambda _: self._close())

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _FileReader:
    """See `Reader`. Reads one block ahead while the last one is on its way."""

    def __init__(self, file: _OpenFile, size: int) -> None:
        self._file: _OpenFile | None = file
        self._size = size
        self._reading: asyncio.Future[bytes] | None = None

    @property
    def size(self) -> int:
        return self._size

    async def blocks(self, start: int, end: int) -> AsyncIterator[bytes]:
        self._read_ahead(start, end)
        while self._reading is not None:
            block = await self._reading
            if not block:
                raise StoreError(f"the object ends before byte {end}")
            start += len(block)
            self._reading = None
            self._read_ahead(start, end)
            yield block

    def _read_ahead(self, start: int, end: int) -> None:
        if start < end and self._file is not None:
            length = min(READ_BLOCK_BYTES, end - start)
            self._reading = asyncio.ensure_future(self._file.do(os.pread, self._file.descriptor, length, start))
            self._reading.add_done_callback(_look_at_the_outcome)

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _FileWriter:
    """See `Writer`."""

    def __init__(self, path: Path, part: Path, file: _OpenFile) -> None:
        self._path = path
        self._part = part
        self._file = file
        self._size = 0
        self._done = False

    async def write(self, block: bytes) -> None:
        await self._file.do(self._append, block)

    async def commit(self) -> None:
        await self._file.do(self._make_durable)
        await self._file.finish(self._publish)
        self._done = True

    async def abort(self) -> None:
        if not self._done:
            self._done = True
            await self._file.finish(lambda: self._part.unlink(missing_ok=True))

    def _append(self, block: bytes) -> None:
        at = self._size
        self._size += len(block)
        if block == bytes(len(block)):
            return
        _leave_the_reserve(self._file.descriptor)
        view = memoryview(block)
        while view:
            written = os.pwrite(self._file.descriptor, view, at)
            view, at = view[written:], at + written

    def _make_durable(self) -> None:
        os.ftruncate(self._file.descriptor, self._size)
        os.fsync(self._file.descriptor)

    def _publish(self) -> None:
        self._part.rename(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _leave_the_reserve(descriptor: int) -> None:
    found = os.fstatvfs(descriptor)
    reserve = min(int(found.f_blocks * found.f_frsize * RESERVE_SHARE), MAX_RESERVE_BYTES)
    if found.f_bavail * found.f_frsize <= reserve:
        raise OSError(errno.ENOSPC, f"{found.f_bavail * found.f_frsize} bytes are left, which are kept free")


def _look_at_the_outcome(done: asyncio.Future[Any]) -> None:
    """Work that nobody waits for any more may fail; that is no error of the loop."""
    if not done.cancelled():
        done.exception()


def _close_what_was_opened(opening: Future[int]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())
