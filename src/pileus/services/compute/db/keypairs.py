"""Key pairs: public keys of users, by name."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Column, Integer, String, Table, Text, UniqueConstraint, delete, func, select

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.compute.db.metadata import METADATA

KEYPAIRS = Table(
    "keypairs",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("user_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("type", String(8), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", String(255), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("user_id", "name", name="uq_keypairs_user_name"),
)


class KeyPair(msgspec.Struct, frozen=True):
    """A row of the table."""

    id: int
    user_id: str
    name: str
    type: str
    public_key: str
    fingerprint: str
    created_at: datetime


def _from_row(row) -> KeyPair:
    return KeyPair(**row._mapping)


def get(tx: Tx, user_id: str, name: str) -> KeyPair | None:
    """A user's key pair by name."""
    row = tx.first(select(KEYPAIRS).where(KEYPAIRS.c.user_id == user_id, KEYPAIRS.c.name == name))
    return None if row is None else _from_row(row)


def insert(tx: Tx, user_id: str, name: str, type_: str, public_key: str, fingerprint: str) -> KeyPair:
    """Add one; the caller has seen in this transaction that the name is free."""
    values = {
        "user_id": user_id, "name": name, "type": type_, "public_key": public_key, "fingerprint": fingerprint,
        "created_at": tx.now(),
    }
    (key,) = tx.execute(KEYPAIRS.insert().values(**values)).inserted_primary_key or (0,)
    return KeyPair(id=key, **values)


def page(tx: Tx, user_id: str, *, marker: str | None, limit: int) -> list[KeyPair]:
    """A user's key pairs by name, after `marker`."""
    statement = select(KEYPAIRS).where(KEYPAIRS.c.user_id == user_id)
    if marker is not None:
        statement = statement.where(KEYPAIRS.c.name > marker)
    return [_from_row(row) for row in tx.all(statement.order_by(KEYPAIRS.c.name).limit(limit))]


def remove(tx: Tx, user_id: str, name: str) -> bool:
    """Delete one. False when it was not there."""
    gone = tx.execute(delete(KEYPAIRS).where(KEYPAIRS.c.user_id == user_id, KEYPAIRS.c.name == name))
    return gone.rowcount > 0


def count_of_user(tx: Tx, user_id: str) -> int:
    """How many a user has."""
    return tx.scalar(select(func.count()).select_from(KEYPAIRS).where(KEYPAIRS.c.user_id == user_id)) or 0
