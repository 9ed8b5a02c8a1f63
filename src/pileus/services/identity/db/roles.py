"""Roles, and which role implies which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Column, ForeignKey, String, Table, Text, UniqueConstraint, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.kernel.db import Json, Tx
from pileus.services.identity.db.filters import Filter, Window, as_struct, narrowed, page
from pileus.services.identity.db.metadata import METADATA

# What stands in a global role's `domain_id`: NULL would make the unique constraint on names blind.
NO_DOMAIN = ""

ROLES = Table(
    "roles",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("domain_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", Text),
    Column("options", Json, nullable=False),
    Column("extra", Json, nullable=False),
    UniqueConstraint("domain_id", "name"),
)
IMPLIED_ROLES = Table(
    "implied_roles",
    METADATA,
    Column("prior_role_id", String(64), ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
    Column("implied_role_id", String(64), ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True),
)


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role. With a domain_id it only serves to imply global roles within that domain, and is in no token."""

    id: str
    domain_id: str | None
    name: str
    description: str | None
    options: dict[str, Any]
    extra: dict[str, Any]


def _role(row: Any) -> Role:
    role = as_struct(Role, row)
    return msgspec.structs.replace(role, domain_id=role.domain_id or None)


def get(tx: Tx, role_id: str) -> Role | None:
    """A role by id."""
    row = tx.first(select(ROLES).where(ROLES.c.id == role_id))
    return None if row is None else _role(row)


def get_by_name(tx: Tx, name: str, domain_id: str | None = None) -> Role | None:
    """A role by name: a global one, or of a domain."""
    row = tx.first(select(ROLES).where(ROLES.c.name == name, ROLES.c.domain_id == (domain_id or NO_DOMAIN)))
    return None if row is None else _role(row)


def insert(tx: Tx, role: Role) -> None:
    """Store a new role; the name must have been found free in this transaction."""
    values = {name: getattr(role, name) for name in Role.__struct_fields__}
    tx.execute(ROLES.insert().values(**(values | {"domain_id": role.domain_id or NO_DOMAIN})))


def update(tx: Tx, role_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns."""
    if changes:
        tx.execute(sql_update(ROLES).where(ROLES.c.id == role_id).values(**changes))


def delete(tx: Tx, role_ids: Iterable[str]) -> None:
    """Delete roles and what they imply; their assignments are the caller's business."""
    ids = list(role_ids)
    tx.execute(sql_delete(IMPLIED_ROLES).where(
        IMPLIED_ROLES.c.prior_role_id.in_(ids) | IMPLIED_ROLES.c.implied_role_id.in_(ids)
    ))
    tx.execute(sql_delete(ROLES).where(ROLES.c.id.in_(ids)))


def listing(tx: Tx, filters: tuple[Filter, ...], window: Window) -> list[Role]:
    """One page of roles."""
    return [_role(row) for row in page(tx, narrowed(select(ROLES), ROLES, filters), ROLES, window)]


def by_ids(tx: Tx, ids: Iterable[str]) -> list[Role]:
    """The roles of those ids, by name."""
    return [_role(row) for row in tx.all(select(ROLES).where(ROLES.c.id.in_(list(ids))).order_by(ROLES.c.name))]


def ids_of_domain(tx: Tx, domain_id: str) -> list[str]:
    """All roles of a domain."""
    return [row.id for row in tx.all(select(ROLES.c.id).where(ROLES.c.domain_id == domain_id))]


def implications(tx: Tx) -> dict[str, set[str]]:
    """Which roles each role implies directly."""
    found: dict[str, set[str]] = {}
    for row in tx.all(select(IMPLIED_ROLES)):
        found.setdefault(row.prior_role_id, set()).add(row.implied_role_id)
    return found


def imply(tx: Tx, prior_id: str, implied_id: str) -> None:
    """Make a role imply another; nothing happens when it does already."""
    if implied_id not in implications(tx).get(prior_id, set()):
        tx.execute(IMPLIED_ROLES.insert().values(prior_role_id=prior_id, implied_role_id=implied_id))


def cease_to_imply(tx: Tx, prior_id: str, implied_id: str) -> bool:
    """Take an implication back; False when there was none."""
    gone = sql_delete(IMPLIED_ROLES).where(
        IMPLIED_ROLES.c.prior_role_id == prior_id, IMPLIED_ROLES.c.implied_role_id == implied_id
    )
    return tx.execute(gone).rowcount > 0
