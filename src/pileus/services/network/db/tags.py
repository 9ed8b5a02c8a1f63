"""Tags: words that users hang on resources, in one table for all kinds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Column, String, Table, delete, exists, func, not_, select
from sqlalchemy.sql import ColumnElement

from pileus.kernel.db import Tx
from pileus.services.network.db.listing import Filter
from pileus.services.network.db.metadata import ID_CHARS, METADATA

TAG_CHARS = 255

TAGS = Table(
    "tags",
    METADATA,
    Column("resource_id", String(ID_CHARS), primary_key=True),
    Column("tag", String(TAG_CHARS), primary_key=True),
)


def of(tx: Tx, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Tags by resource id, sorted; resources without any are missing."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in tx.all(select(TAGS).where(TAGS.c.resource_id.in_(list(ids))).order_by(TAGS.c.tag)):
        found[row.resource_id].append(row.tag)
    return {key: tuple(tags) for key, tags in found.items()}


def replace(tx: Tx, resource_id: str, tags: Iterable[str]) -> None:
    """Make `tags` the tags of a resource."""
    tx.execute(delete(TAGS).where(TAGS.c.resource_id == resource_id))
    for tag in sorted(set(tags)):
        tx.execute(TAGS.insert().values(resource_id=resource_id, tag=tag))


def forget(tx: Tx, ids: Iterable[str]) -> None:
    """The resources are gone."""
    tx.execute(delete(TAGS).where(TAGS.c.resource_id.in_(list(ids))))


def filters(table: Table) -> dict[str, Filter]:
    """The four tag filters of a resource's list; each takes words separated by commas."""

    def number_of(values: list[str]) -> tuple[ColumnElement[int], int]:
        words = _words(values)
        count = select(func.count()).where(TAGS.c.resource_id == table.c.id, TAGS.c.tag.in_(words)).scalar_subquery()
        return count, len(words)

    def all_of(values: list[str]) -> ColumnElement[bool]:
        count, wanted = number_of(values)
        return count == wanted

    def any_of(values: list[str]) -> ColumnElement[bool]:
        return exists().where(TAGS.c.resource_id == table.c.id, TAGS.c.tag.in_(_words(values)))

    return {
        "tags": all_of,
        "tags-any": any_of,
        "not-tags": lambda values: not_(all_of(values)),
        "not-tags-any": lambda values: not_(any_of(values)),
    }


def _words(values: list[str]) -> list[str]:
    return sorted({word for value in values for word in value.split(",") if word})


