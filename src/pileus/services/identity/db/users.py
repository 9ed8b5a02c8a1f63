"""Users and their password history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, ForeignKey, Integer, String, Table, Text, UniqueConstraint, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.identity.db.filters import Filter, Window, as_struct, narrowed, page
from pileus.services.identity.db.metadata import METADATA

USERS = Table(
    "users",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("domain_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("description", Text),
    Column("default_project_id", String(64)),
    Column("password_hash", Text),
    Column("password_created_at", UtcDateTime),
    Column("password_expires_at", UtcDateTime),
    Column("failed_logins", Integer, nullable=False),
    Column("last_failed_at", UtcDateTime),
    Column("last_active_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("options", Json, nullable=False),
    Column("extra", Json, nullable=False),
    UniqueConstraint("domain_id", "name"),
)
PASSWORD_HISTORY = Table(
    "password_history",
    METADATA,
    Column("user_id", String(64), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("created_at", UtcDateTime, primary_key=True),
    Column("password_hash", Text, nullable=False),
)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user. password_hash None: cannot log in with a password. Times are aware UTC."""

    id: str
    domain_id: str
    name: str
    enabled: bool
    description: str | None = None
    default_project_id: str | None = None
    password_hash: str | None = None
    password_created_at: datetime | None = None
    password_expires_at: datetime | None = None
    failed_logins: int = 0
    last_failed_at: datetime | None = None
    last_active_at: datetime | None = None
    created_at: datetime
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}


def get(tx: Tx, user_id: str) -> User | None:
    """A user by id."""
    row = tx.first(select(USERS).where(USERS.c.id == user_id))
    return None if row is None else as_struct(User, row)


def get_by_name(tx: Tx, name: str, domain_id: str) -> User | None:
    """A user by name in their domain."""
    row = tx.first(select(USERS).where(USERS.c.name == name, USERS.c.domain_id == domain_id))
    return None if row is None else as_struct(User, row)


def insert(tx: Tx, user: User) -> None:
    """Store a new user; the name must have been found free in this transaction."""
    tx.execute(USERS.insert().values(**{name: getattr(user, name) for name in User.__struct_fields__}))
    if user.password_hash is not None:
        _remember(tx, user.id, user.password_hash)


def update(tx: Tx, user_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns."""
    if changes:
        tx.execute(sql_update(USERS).where(USERS.c.id == user_id).values(**changes))


def set_password(tx: Tx, user_id: str, password_hash: str | None, expires_at: datetime | None) -> None:
    """Replace the password, keep the old one in the history, forget failed logins."""
    update(tx, user_id, {
        "password_hash": password_hash, "password_created_at": tx.now(), "password_expires_at": expires_at,
        "failed_logins": 0, "last_failed_at": None,
    })
    if password_hash is not None:
        _remember(tx, user_id, password_hash)


def password_history(tx: Tx, user_id: str, newest: int) -> list[str]:
    """Hashes of the latest passwords, the present one first; older ones are dropped for good."""
    query = select(PASSWORD_HISTORY).where(PASSWORD_HISTORY.c.user_id == user_id)
    return [row.password_hash for row in tx.all(query.order_by(PASSWORD_HISTORY.c.created_at.desc()).limit(newest))]


def trim_history(tx: Tx, user_id: str, keep: int) -> None:
    """Forget all but the latest `keep` passwords."""
    query = select(PASSWORD_HISTORY.c.created_at).where(PASSWORD_HISTORY.c.user_id == user_id)
    old = [row.created_at for row in tx.all(query.order_by(PASSWORD_HISTORY.c.created_at.desc()).offset(keep))]
    if old:
        tx.execute(sql_delete(PASSWORD_HISTORY).where(
            PASSWORD_HISTORY.c.user_id == user_id, PASSWORD_HISTORY.c.created_at.in_(old)
        ))


def delete(tx: Tx, user_ids: Iterable[str]) -> None:
    """Delete users and their histories; assignments and memberships are the caller's business."""
    tx.execute(sql_delete(USERS).where(USERS.c.id.in_(list(user_ids))))


def listing(tx: Tx, filters: tuple[Filter, ...], window: Window) -> list[User]:
    """One page of users."""
    return [as_struct(User, row) for row in page(tx, narrowed(select(USERS), USERS, filters), USERS, window)]


def by_ids(tx: Tx, ids: Iterable[str], filters: tuple[Filter, ...] = ()) -> list[User]:
    """The users of those ids that pass the filters, by name."""
    query = narrowed(select(USERS), USERS, filters).where(USERS.c.id.in_(list(ids))).order_by(USERS.c.name)
    return [as_struct(User, row) for row in tx.all(query)]


def ids_of_domain(tx: Tx, domain_id: str) -> list[str]:
    """All users of a domain."""
    return [row.id for row in tx.all(select(USERS.c.id).where(USERS.c.domain_id == domain_id))]


def _remember(tx: Tx, user_id: str, password_hash: str) -> None:
    tx.execute(PASSWORD_HISTORY.insert().values(user_id=user_id, created_at=tx.now(), password_hash=password_hash))
