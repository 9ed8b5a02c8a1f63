"""Groups and who is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Column, String, Table, Text, UniqueConstraint, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.kernel.db import Json, Tx
from pileus.services.identity.db.filters import Filter, Window, as_struct, narrowed, page
from pileus.services.identity.db.metadata import METADATA

GROUPS = Table(
    "groups",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("domain_id", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("description", Text, nullable=False),
    Column("extra", Json, nullable=False),
    UniqueConstraint("domain_id", "name"),
)
MEMBERSHIPS = Table(
    "memberships",
    METADATA,
    Column("user_id", String(64), primary_key=True),
    Column("group_id", String(64), primary_key=True, index=True),
)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group of users, in one domain; its members may be of other domains."""

    id: str
    domain_id: str
    name: str
    description: str
    extra: dict[str, Any]


def get(tx: Tx, group_id: str) -> Group | None:
    """A group by id."""
    row = tx.first(select(GROUPS).where(GROUPS.c.id == group_id))
    return None if row is None else as_struct(Group, row)


def get_by_name(tx: Tx, name: str, domain_id: str) -> Group | None:
    """A group by name in its domain."""
    row = tx.first(select(GROUPS).where(GROUPS.c.name == name, GROUPS.c.domain_id == domain_id))
    return None if row is None else as_struct(Group, row)


def insert(tx: Tx, group: Group) -> None:
    """Store a new group; the name must have been found free in this transaction."""
    tx.execute(GROUPS.insert().values(**{name: getattr(group, name) for name in Group.__struct_fields__}))


def update(tx: Tx, group_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns."""
    if changes:
        tx.execute(sql_update(GROUPS).where(GROUPS.c.id == group_id).values(**changes))


def delete(tx: Tx, group_ids: Iterable[str]) -> None:
    """Delete groups and memberships in them."""
    ids = list(group_ids)
    tx.execute(sql_delete(MEMBERSHIPS).where(MEMBERSHIPS.c.group_id.in_(ids)))
    tx.execute(sql_delete(GROUPS).where(GROUPS.c.id.in_(ids)))


def listing(tx: Tx, filters: tuple[Filter, ...], window: Window) -> list[Group]:
    """One page of groups."""
    return [as_struct(Group, row) for row in page(tx, narrowed(select(GROUPS), GROUPS, filters), GROUPS, window)]


def by_ids(tx: Tx, ids: Iterable[str], filters: tuple[Filter, ...] = ()) -> list[Group]:
    """The groups of those ids that pass the filters, by name."""
    query = narrowed(select(GROUPS), GROUPS, filters).where(GROUPS.c.id.in_(list(ids))).order_by(GROUPS.c.name)
    return [as_struct(Group, row) for row in tx.all(query)]


def ids_of_domain(tx: Tx, domain_id: str) -> list[str]:
    """All groups of a domain."""
    return [row.id for row in tx.all(select(GROUPS.c.id).where(GROUPS.c.domain_id == domain_id))]


def add_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Put a user into a group; False when they were in it."""
    if is_member(tx, group_id, user_id):
        return False
    tx.execute(MEMBERSHIPS.insert().values(group_id=group_id, user_id=user_id))
    return True


def is_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Whether the user is in the group."""
    query = select(MEMBERSHIPS).where(MEMBERSHIPS.c.group_id == group_id, MEMBERSHIPS.c.user_id == user_id)
    return tx.first(query) is not None


def remove_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Take a user out of a group; False when they were not in it."""
    gone = sql_delete(MEMBERSHIPS).where(MEMBERSHIPS.c.group_id == group_id, MEMBERSHIPS.c.user_id == user_id)
    return tx.execute(gone).rowcount > 0


def forget_members(tx: Tx, user_ids: Iterable[str]) -> None:
    """Take users out of all groups."""
    tx.execute(sql_delete(MEMBERSHIPS).where(MEMBERSHIPS.c.user_id.in_(list(user_ids))))


def members(tx: Tx, group_id: str) -> list[str]:
    """Ids of the users in a group."""
    return [row.user_id for row in tx.all(select(MEMBERSHIPS).where(MEMBERSHIPS.c.group_id == group_id))]


def groups_of(tx: Tx, user_id: str) -> list[str]:
    """Ids of the groups a user is in."""
    return [row.group_id for row in tx.all(select(MEMBERSHIPS).where(MEMBERSHIPS.c.user_id == user_id))]
