"""Pages of images: what the caller may see, filtered, ordered, from a marker on."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, and_, exists, func, literal, not_, or_, select

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.services.image.db.images import IMAGES, PROPERTIES, TAGS, Image, with_details
from pileus.services.image.db.members import MEMBERS
from pileus.services.image.states import COMMUNITY, PUBLIC, SHARED

_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq, "neq": operator.ne, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le
}
_SECOND: Final = timedelta(seconds=1)


class Condition(msgspec.Struct, frozen=True):
    """One filter: a column, an operator (eq, in, gt, gte, lt, lte, neq) and what it compares with."""

    column: str
    operator: str
    value: Any


class Listing(msgspec.Struct, frozen=True):
    """A checked query. `visibility` None: the default view; `all`: every image the caller may see."""

    limit: int
    marker: str | None
    sort: tuple[tuple[str, str], ...]
    conditions: tuple[Condition, ...]
    properties: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    visibility: str | None
    member_status: str


def page(tx: Tx, listing: Listing, *, project_id: str | None, is_admin: bool) -> tuple[list[Image], bool]:
    """One page, and whether there is more behind it. Raises `BadRequest` for a marker that the caller cannot see."""
    statement = select(IMAGES).where(*_conditions(listing, project_id))
    if not is_admin:
        statement = statement.where(_visible(project_id, listing.member_status))
    sort = _total_order(listing.sort)
    if listing.marker is not None:
        statement = statement.where(_behind(tx, listing.marker, sort, None if is_admin else project_id, is_admin))
    for key, direction in sort:
        column = _sortable(key)
        statement = statement.order_by(column.desc() if direction == "desc" else column.asc())
    rows = tx.all(statement.limit(listing.limit + 1))
    return with_details(tx, rows[: listing.limit]), len(rows) > listing.limit > 0


def is_visible(tx: Tx, image: Image, project_id: str | None) -> bool:
    """Whether a project may see an image when it asks for it by id. What a member says to it does not matter here."""
    statement = select(IMAGES.c.id).where(IMAGES.c.id == image.id, _visible(project_id, "all"))
    return tx.first(statement) is not None


def _visible(project_id: str | None, member_status: str) -> ColumnElement[bool]:
    shared = exists().where(MEMBERS.c.image_id == IMAGES.c.id, MEMBERS.c.member_id == project_id)
    if member_status != "all":
        shared = shared.where(MEMBERS.c.status == member_status)
    open_to_all = IMAGES.c.visibility.in_((PUBLIC, COMMUNITY))
    if project_id is None:
        return open_to_all
    return or_(open_to_all, IMAGES.c.owner == project_id, and_(IMAGES.c.visibility == SHARED, shared))


def _conditions(listing: Listing, project_id: str | None) -> list[ColumnElement[bool]]:
    found = [_condition(condition) for condition in listing.conditions]
    for name, value in listing.properties:
        found.append(
            exists().where(PROPERTIES.c.image_id == IMAGES.c.id, PROPERTIES.c.name == name, PROPERTIES.c.value == value)
        )
    for tag in listing.tags:
        found.append(exists().where(TAGS.c.image_id == IMAGES.c.id, TAGS.c.value == tag))
    if listing.visibility is None:
        # Community images of others show up only when they are asked for.
        found.append(or_(IMAGES.c.visibility != COMMUNITY, IMAGES.c.owner == project_id))
    elif listing.visibility != "all":
        found.append(IMAGES.c.visibility == listing.visibility)
    return found


def _condition(condition: Condition) -> ColumnElement[bool]:
    column, value = IMAGES.c[condition.column], condition.value
    if condition.operator == "in":
        return column.in_(value)
    if condition.column in ("created_at", "updated_at"):
        return _in_seconds(column, condition.operator, value)
    return _COMPARE[condition.operator](column, value)


def _in_seconds(column: Any, name: str, value: Any) -> ColumnElement[bool]:
    """Compare times as users see them, in whole seconds, though more is stored."""
    after = value + _SECOND
    within = and_(column >= value, column < after)
    return {
        "eq": within, "neq": not_(within), "gt": column >= after, "gte": column >= value, "lt": column < value,
        "lte": column < after,
    }[name]


def _total_order(sort: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The order asked for, made unambiguous."""
    last = sort[-1][1]
    named = {key for key, _ in sort}
    return (*sort, *((key, last) for key in ("created_at", "id") if key not in named))


def _sortable(key: str) -> ColumnElement[Any]:
    """The column; absent values come before all others, on every engine."""
    column = IMAGES.c[key]
    if key == "size":
        return func.coalesce(column, -1)
    return func.coalesce(column, "") if column.nullable else column


def _behind(
    tx: Tx, marker: str, sort: tuple[tuple[str, str], ...], project_id: str | None, is_admin: bool
) -> ColumnElement[bool]:
    statement: Select[Any] = select(*(_sortable(key).label(key) for key, _ in sort)).where(IMAGES.c.id == marker)
    if not is_admin:
        statement = statement.where(_visible(project_id, "all"))
    row = tx.first(statement)
    if row is None:
        raise BadRequest(f"Marker image {marker[:64]} could not be found.")
    ways = []
    for at, (key, direction) in enumerate(sort):
        same = [_sortable(earlier) == row._mapping[earlier] for earlier, _ in sort[:at]]
        value = literal(row._mapping[key], IMAGES.c[key].type)
        ways.append(and_(*same, _COMPARE["lt" if direction == "desc" else "gt"](_sortable(key), value)))
    return or_(*ways)
