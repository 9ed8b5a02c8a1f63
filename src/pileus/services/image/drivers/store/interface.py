"""What an image store must do. A store keeps byte sequences under keys; it knows nothing of images.

A driver is a folder beside this file. Its package has `open_store(config, state_dir) -> Store`. Keys are uuids made by
the service, never anything a user named. Every driver passes tests/unit/image/test_store_contract.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Protocol

import msgspec


class StoreError(Exception):
    """The store cannot do what was asked now; the text is for the operator."""


class NoSpace(StoreError):
    """The store has no room for more bytes."""


class NoSuchObject(StoreError):
    """There are no bytes under that key."""


class StoredObject(msgspec.Struct, frozen=True):
    """One entry of a listing. `complete` False: left behind by a `put` that did not end."""

    key: str
    size: int
    modified_at: datetime
    complete: bool


class Reader(Protocol):
    """An open object. Deleting the object does not disturb readers that are open."""

    @property
    def size(self) -> int:
        """Length of the whole object in bytes."""
        ...

    def blocks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end` (exclusive), in blocks. Raises StoreError when they cannot be read."""
        ...

    async def close(self) -> None:
        """Give the object back; may be called more than once."""
        ...


class Writer(Protocol):
    """An object that is being written; nothing can be read under its key before `commit` returns."""

    async def write(self, block: bytes) -> None:
        """Append. Raises NoSpace or StoreError."""
        ...

    async def commit(self) -> None:
        """Make the object durable and readable, whole. Raises NoSpace or StoreError."""
        ...

    async def abort(self) -> None:
        """Free everything; nothing to do after `commit` or a first `abort`."""
        ...


class Store(Protocol):
    """A place for bytes."""

    async def create(self, key: str) -> Writer:
        """Begin a new object. Raises StoreError when the key is in use."""
        ...

    async def open(self, key: str) -> Reader:
        """Open an object for reading. Raises NoSuchObject."""
        ...

    async def delete(self, key: str) -> None:
        """Free an object, complete or not. Nothing to do when there is none."""
        ...

    async def size(self, key: str) -> int | None:
        """Length in bytes of a complete object, or None."""
        ...

    def list(self) -> AsyncIterator[StoredObject]:
        """All objects, in no order, complete or not."""
        ...

    def details(self) -> Mapping[str, str]:
        """What an administrator may know of the store's set-up."""
        ...
