"""What every image store driver must do. A new driver joins by one line in `OPENERS`."""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pileus.services.image.drivers.store.file import FileStore
from pileus.services.image.drivers.store.interface import NoSpace, NoSuchObject, Store, StoreError

OPENERS: dict[str, Callable[[Path], Store]] = {"file": lambda tmp_path: FileStore(tmp_path / "images")}
MIB = 2**20


@pytest.fixture(params=sorted(OPENERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return OPENERS[request.param](tmp_path)


async def put(store: Store, *blocks: bytes) -> str:
    key = str(uuid.uuid4())
    writer = await store.create(key)
    for block in blocks:
        await writer.write(block)
    await writer.commit()
    return key


async def read(store: Store, key: str, start: int = 0, end: int | None = None) -> bytes:
    reader = await store.open(key)
    try:
        return b"".join([block async for block in reader.blocks(start, reader.size if end is None else end)])
    finally:
        await reader.close()


async def listed(store: Store) -> dict[str, tuple[int, bool]]:
    return {entry.key: (entry.size, entry.complete) async for entry in store.list()}


async def test_bytes_come_back_whole_and_in_ranges(store: Store) -> None:
    blocks = [os.urandom(MIB), bytes(2 * MIB), os.urandom(7), bytes(5)]
    data = b"".join(blocks)
    key = await put(store, *blocks)
    assert await store.size(key) == len(data)
    assert await read(store, key) == data
    for start, end in ((0, 1), (MIB - 1, 3 * MIB + 2), (len(data) - 3, len(data)), (5, 5)):
        assert await read(store, key, start, end) == data[start:end]


async def test_an_empty_object(store: Store) -> None:
    key = await put(store)
    assert await store.size(key) == 0
    assert await read(store, key) == b""


async def test_nothing_is_seen_before_commit(store: Store) -> None:
    key = str(uuid.uuid4())
    writer = await store.create(key)
    await writer.write(b"half")
    assert await store.size(key) is None
    with pytest.raises(NoSuchObject):
        await store.open(key)
    assert [complete for _, complete in (await listed(store)).values()] == [False]
    await writer.commit()
    await writer.abort()
    assert await listed(store) == {key: (4, True)}


async def test_abort_leaves_nothing_and_may_be_repeated(store: Store) -> None:
    key = str(uuid.uuid4())
    writer = await store.create(key)
    await writer.write(b"x" * MIB)
    await writer.abort()
    await writer.abort()
    assert await listed(store) == {}
    assert await store.size(await put(store, b"afterwards")) == 10


async def test_a_key_is_used_once(store: Store) -> None:
    key = await put(store, b"first")
    with pytest.raises(StoreError):
        await store.create(key)
    begun = str(uuid.uuid4())
    writer = await store.create(begun)
    with pytest.raises(StoreError):
        await store.create(begun)
    await writer.abort()
    assert await read(store, key) == b"first"


async def test_delete_frees_whole_and_half_objects_and_may_be_repeated(store: Store) -> None:
    key, half = await put(store, b"x"), str(uuid.uuid4())
    writer = await store.create(half)
    for name in (key, half, key, str(uuid.uuid4())):
        await store.delete(name)
    assert await listed(store) == {}
    with pytest.raises(NoSuchObject):
        await store.open(key)
    with pytest.raises(StoreError):
        await writer.commit()
    await writer.abort()


async def test_deletion_does_not_disturb_an_open_reader(store: Store) -> None:
    data = os.urandom(3 * MIB)
    key = await put(store, data)
    reader = await store.open(key)
    await store.delete(key)
    assert b"".join([block async for block in reader.blocks(0, reader.size)]) == data
    await reader.close()
    await reader.close()


@pytest.mark.parametrize("key", ["", "..", "../secret", "/etc/passwd", "x" * 36, str(uuid.uuid4()).upper()])
async def test_only_keys_of_our_own_making(store: Store, key: str) -> None:
    for call in (store.create, store.open, store.delete, store.size):
        with pytest.raises(StoreError):
            await call(key)


async def test_a_cancelled_write_can_be_aborted(store: Store) -> None:
    writer = await store.create(str(uuid.uuid4()))
    writing = asyncio.ensure_future(writer.write(os.urandom(8 * MIB)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await writer.abort()
    assert await listed(store) == {}


async def test_file_a_full_disk_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk itself is not filled here: the operating system's answer is replaced."""

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = FileStore(tmp_path)
    writer = await store.create(str(uuid.uuid4()))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoSpace):
        await writer.write(b"x")
    await writer.abort()
    assert list(tmp_path.iterdir()) == []


async def test_file_closing_while_a_read_is_under_way(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    key = await put(store, os.urandom(4 * MIB))
    reader = await store.open(key)
    blocks = reader.blocks(0, reader.size)
    assert await anext(blocks)
    await reader.close()

    def is_open() -> bool:
        links = (os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.islink(
            f"/proc/self/fd/{name}"))
        return any(link.endswith(key) for link in links)

    async with asyncio.timeout(10):
        while is_open():
            await asyncio.sleep(0.01)
