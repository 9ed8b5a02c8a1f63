"""What the image service's database says of images and their bytes."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.image.db.images import IMAGES


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An image. size in bytes; store_key: the name of its bytes in its store; upload_beat_at: when an upload that is
    under way last said that it lives."""

    id: str
    status: str
    owner: str | None
    size: int | None
    store: str | None
    store_key: str | None
    upload_beat_at: datetime | None
    updated_at: datetime


_COLUMNS = [IMAGES.c[name] for name in ImageRecord.__struct_fields__]


class ImageRecords(msgspec.Struct, frozen=True):
    """By id."""

    images: dict[str, ImageRecord]


def read(tx: Tx) -> ImageRecords:
    """All of it, in one statement."""
    return ImageRecords({row.id: ImageRecord(**row._mapping) for row in tx.all(select(*_COLUMNS))})
