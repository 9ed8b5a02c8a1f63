"""Memberships: which projects a shared image is shared with, and what they said to it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Column, ForeignKey, String, Table, delete, func, select, update

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.image.db.metadata import METADATA
from pileus.services.image.states import PENDING

MEMBERS = Table(
    "image_members",
    METADATA,
    Column("image_id", String(36), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("member_id", String(255), primary_key=True, index=True),
    Column("status", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)


class Member(msgspec.Struct, frozen=True):
    """One project's membership in one image."""

    image_id: str
    member_id: str
    status: str
    created_at: datetime
    updated_at: datetime


def get(tx: Tx, image_id: str, member_id: str | None) -> Member | None:
    """One membership, or None."""
    row = tx.first(select(MEMBERS).where(MEMBERS.c.image_id == image_id, MEMBERS.c.member_id == member_id))
    return None if row is None else Member(**row._mapping)


def of_image(tx: Tx, image_id: str) -> list[Member]:
    """All memberships of an image, oldest first. Their number is limited when they are made."""
    statement = select(MEMBERS).where(MEMBERS.c.image_id == image_id)
    rows = tx.all(statement.order_by(MEMBERS.c.created_at, MEMBERS.c.member_id))
    return [Member(**row._mapping) for row in rows]


def count(tx: Tx, image_id: str) -> int:
    """How many members an image has."""
    return tx.scalar(select(func.count()).select_from(MEMBERS).where(MEMBERS.c.image_id == image_id)) or 0


def insert(tx: Tx, image_id: str, member_id: str) -> Member:
    """Add a member, pending."""
    member = Member(image_id, member_id, PENDING, tx.now(), tx.now())
    tx.execute(MEMBERS.insert().values(**msgspec.structs.asdict(member)))
    return member


def set_status(tx: Tx, member: Member, status: str) -> Member:
    """What the member says."""
    changed = msgspec.structs.replace(member, status=status, updated_at=tx.now())
    tx.execute(_one(update(MEMBERS), member).values(status=status, updated_at=changed.updated_at))
    return changed


def remove(tx: Tx, member: Member) -> None:
    """Stop sharing with one member."""
    tx.execute(_one(delete(MEMBERS), member))


def _one(statement, member: Member):
    return statement.where(MEMBERS.c.image_id == member.image_id, MEMBERS.c.member_id == member.member_id)
