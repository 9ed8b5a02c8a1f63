"""An image's data: the swaps queued -> saving -> active, each bound to one upload by the store key it writes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
from sqlalchemy import or_, select, update

from pileus.kernel.db import Tx
from pileus.services.image.db.images import IMAGES
from pileus.services.image.states import ACTIVE, QUEUED, SAVING


class Data(msgspec.Struct, frozen=True):
    """What is known of stored bytes. Sizes in bytes; virtual_size None when the format does not tell."""

    size: int
    virtual_size: int | None
    checksum: str
    os_hash_algo: str
    os_hash_value: str


class StaleUpload(msgspec.Struct, frozen=True):
    """An upload whose process is gone."""

    image_id: str
    store: str
    store_key: str


def begin(tx: Tx, image_id: str, *, store: str, store_key: str, owner: str) -> bool:
    """queued -> saving. The key is on disk in the database before the store has a byte under it."""
    changed = tx.execute(
        update(IMAGES)
        .where(IMAGES.c.id == image_id, IMAGES.c.status == QUEUED)
        .values(status=SAVING, store=store, store_key=store_key, upload_owner=owner, upload_beat_at=tx.now(),
                updated_at=tx.now())
    )
    return changed.rowcount == 1


def beat(tx: Tx, image_id: str, store_key: str) -> bool:
    """Say that the upload lives. False when it was taken away (image deleted, or judged stale)."""
    changed = tx.execute(_of_upload(image_id, store_key).values(upload_beat_at=tx.now()))
    return changed.rowcount == 1


def finish(tx: Tx, image_id: str, store_key: str, data: Data) -> bool:
    """saving -> active. False when the upload was taken away: its bytes then belong to nothing."""
    changed = tx.execute(
        _of_upload(image_id, store_key).values(
            status=ACTIVE, upload_owner=None, upload_beat_at=None, updated_at=tx.now(),
            **msgspec.structs.asdict(data),
        )
    )
    return changed.rowcount == 1


def abandon(tx: Tx, image_id: str, store_key: str) -> bool:
    """saving -> queued: nothing of the upload remains. False when it was taken away already."""
    changed = tx.execute(
        _of_upload(image_id, store_key).values(
            status=QUEUED, store=None, store_key=None, upload_owner=None, upload_beat_at=None, updated_at=tx.now()
        )
    )
    return changed.rowcount == 1


def stale(tx: Tx, *, silent_since: datetime, process: str, live_keys: Collection[str], limit: int) -> list[StaleUpload]:
    """Uploads that have been silent, or that this very process does not know of."""
    rows = tx.all(
        select(IMAGES.c.id, IMAGES.c.store, IMAGES.c.store_key)
        .where(
            IMAGES.c.status == SAVING,
            or_(
                IMAGES.c.upload_beat_at < silent_since,
                (IMAGES.c.upload_owner == process) & IMAGES.c.store_key.not_in(list(live_keys)),
            ),
        )
        .limit(limit)
    )
    return [StaleUpload(row.id, row.store, row.store_key) for row in rows]


def known_keys(tx: Tx, store: str, keys: Collection[str]) -> set[str]:
    """Those of `keys` that an image refers to."""
    statement = select(IMAGES.c.store_key).where(IMAGES.c.store == store, IMAGES.c.store_key.in_(list(keys)))
    return {row.store_key for row in tx.all(statement)}


def _of_upload(image_id: str, store_key: str):
    return update(IMAGES).where(
        IMAGES.c.id == image_id, IMAGES.c.status == SAVING, IMAGES.c.store_key == store_key
    )
