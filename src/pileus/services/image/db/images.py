"""Images with their custom properties and tags; ids that were used once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    delete,
    func,
    select,
    update,
)

from pileus.kernel.db import Tx, UtcDateTime
from pileus.kernel.errors import Conflict
from pileus.services.image.db.metadata import METADATA
from pileus.services.image.states import SAVING

MIB = 2**20

IMAGES = Table(
    "images",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("name", String(255)),
    Column("status", String(16), nullable=False),
    Column("visibility", String(16), nullable=False),
    Column("owner", String(255)),
    Column("disk_format", String(32)),
    Column("container_format", String(32)),
    Column("min_disk", Integer, nullable=False),
    Column("min_ram", Integer, nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("os_hidden", Boolean, nullable=False),
    Column("size", BigInteger),
    Column("virtual_size", BigInteger),
    Column("checksum", String(32)),
    Column("os_hash_algo", String(64)),
    Column("os_hash_value", String(128)),
    Column("store", String(64)),
    Column("store_key", String(36)),
    Column("upload_owner", String(255)),
    Column("upload_beat_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("images_owner", "owner"),
    Index("images_created", "created_at", "id"),
)
PROPERTIES = Table(
    "image_properties",
    METADATA,
    Column("image_id", String(36), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("value", Text),
)
TAGS = Table(
    "image_tags",
    METADATA,
    Column("image_id", String(36), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("value", String(255), primary_key=True),
)
RETIRED = Table(
    "retired_image_ids",
    METADATA,
    # An id is never given twice: caches on the hosts know images by id.
    Column("id", String(36), primary_key=True),
    Column("deleted_at", UtcDateTime, nullable=False),
)


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image. Sizes in bytes, min_disk in GiB, min_ram in MiB.

    store, store_key: where the bytes are (or are being written). upload_owner, upload_beat_at: which process writes
    them and when it last said so; only while `saving`.
    """

    id: str
    name: str | None
    status: str
    visibility: str
    owner: str | None
    disk_format: str | None
    container_format: str | None
    min_disk: int
    min_ram: int
    protected: bool
    os_hidden: bool
    size: int | None
    virtual_size: int | None
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    store: str | None
    store_key: str | None
    upload_owner: str | None
    upload_beat_at: datetime | None
    created_at: datetime
    updated_at: datetime
    properties: dict[str, str | None] = {}
    tags: tuple[str, ...] = ()


def get(tx: Tx, image_id: str) -> Image | None:
    """One image, or None."""
    row = tx.first(select(IMAGES).where(IMAGES.c.id == image_id))
    return None if row is None else with_details(tx, [row])[0]


def with_details(tx: Tx, rows: Iterable[Any]) -> list[Image]:
    """Rows of IMAGES as images, with their properties and tags."""
    found = [row._mapping for row in rows]
    ids = [row["id"] for row in found]
    properties: dict[str, dict[str, str | None]] = {image_id: {} for image_id in ids}
    tags: dict[str, list[str]] = {image_id: [] for image_id in ids}
    for row in tx.all(select(PROPERTIES).where(PROPERTIES.c.image_id.in_(ids)).order_by(PROPERTIES.c.name)):
        properties[row.image_id][row.name] = row.value
    for row in tx.all(select(TAGS).where(TAGS.c.image_id.in_(ids)).order_by(TAGS.c.value)):
        tags[row.image_id].append(row.value)
    return [Image(**row, properties=properties[row["id"]], tags=tuple(tags[row["id"]])) for row in found]


def is_id_taken(tx: Tx, image_id: str) -> bool:
    """Whether an image has or once had this id."""
    return any(
        tx.first(select(table.c.id).where(table.c.id == image_id)) is not None for table in (IMAGES, RETIRED)
    )


def insert(tx: Tx, image: Image) -> None:
    """Store a new image."""
    values = msgspec.structs.asdict(image)
    properties, tags = values.pop("properties"), values.pop("tags")
    tx.execute(IMAGES.insert().values(**values))
    _insert_details(tx, image.id, properties, tags)


def replace(tx: Tx, before: Image, after: Image) -> Image:
    """Store what a user may change of an image: everything but its status and data. Returns it as it is now.

    Raises `Conflict` when somebody else changed the image since `before` was read.
    """
    image = msgspec.structs.replace(after, updated_at=tx.now())
    values = {
        name: getattr(image, name)
        for name in ("name", "visibility", "owner", "disk_format", "container_format", "min_disk", "min_ram",
                     "protected", "os_hidden", "updated_at")
    }
    unchanged = (IMAGES.c.id == image.id, IMAGES.c.updated_at == before.updated_at)
    if tx.execute(update(IMAGES).where(*unchanged).values(**values)).rowcount != 1:
        raise Conflict(f"Image {image.id} was changed at the same time by another request.")
    tx.execute(delete(PROPERTIES).where(PROPERTIES.c.image_id == image.id))
    tx.execute(delete(TAGS).where(TAGS.c.image_id == image.id))
    _insert_details(tx, image.id, image.properties, image.tags)
    return image


def _insert_details(tx: Tx, image_id: str, properties: dict[str, str | None], tags: Collection[str]) -> None:
    if properties:
        rows = [{"image_id": image_id, "name": name, "value": value} for name, value in properties.items()]
        tx.execute(PROPERTIES.insert(), rows)
    if tags:
        tx.execute(TAGS.insert(), [{"image_id": image_id, "value": value} for value in tags])


def remove(tx: Tx, image_id: str) -> None:
    """Delete an image for good; its id is never used again."""
    tx.execute(RETIRED.insert().values(id=image_id, deleted_at=tx.now()))
    tx.execute(delete(IMAGES).where(IMAGES.c.id == image_id))


def set_status(tx: Tx, image_id: str, current: str, wanted: str) -> bool:
    """Compare and swap of the status. False when it was not `current`."""
    changed = tx.execute(
        update(IMAGES)
        .where(IMAGES.c.id == image_id, IMAGES.c.status == current)
        .values(status=wanted, updated_at=tx.now())
    )
    return changed.rowcount == 1


# -- counts for quotas -----------------------------------------------------------------------------------------------


def count_of_project(tx: Tx, project_id: str) -> int:
    """Images that a project owns."""
    return tx.scalar(select(func.count()).select_from(IMAGES).where(IMAGES.c.owner == project_id)) or 0


def bytes_of_project(tx: Tx, project_id: str) -> int:
    """Stored bytes of a project's images."""
    return int(tx.scalar(select(func.sum(IMAGES.c.size)).where(IMAGES.c.owner == project_id)) or 0)


def mib_of_project(tx: Tx, project_id: str) -> int:
    """Stored MiB of a project's images, rounded up."""
    return -(-bytes_of_project(tx, project_id) // MIB)


def uploads_of_project(tx: Tx, project_id: str) -> int:
    """Uploads of a project that run now."""
    statement = select(func.count()).select_from(IMAGES).where(IMAGES.c.owner == project_id, IMAGES.c.status == SAVING)
    return tx.scalar(statement) or 0
