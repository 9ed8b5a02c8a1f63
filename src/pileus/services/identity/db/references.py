"""Whom and what a login names: users by id or name, domains and projects by name. Statements are built once: logins
are what a cloud does most."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from pileus.kernel.db import Tx
from pileus.services.identity.db.filters import as_struct
from pileus.services.identity.db.projects import NO_DOMAIN, PROJECTS
from pileus.services.identity.db.users import USERS, User

_DOMAIN_BY_NAME = select(PROJECTS.c.id).where(
    PROJECTS.c.domain_id == NO_DOMAIN, PROJECTS.c.name == bindparam("domain_name")
)
_DOMAIN = bindparam("domain_id")
_BY_NAME = _DOMAIN_BY_NAME.scalar_subquery()
_USER = select(USERS).where(USERS.c.id == bindparam("user_id"))
_USER_IN = {
    "id": select(USERS).where(USERS.c.name == bindparam("name"), USERS.c.domain_id == _DOMAIN),
    "name": select(USERS).where(USERS.c.name == bindparam("name"), USERS.c.domain_id == _BY_NAME),
}
_PROJECT_IN = {
    "id": select(PROJECTS.c.id).where(PROJECTS.c.name == bindparam("name"), PROJECTS.c.domain_id == _DOMAIN),
    "name": select(PROJECTS.c.id).where(PROJECTS.c.name == bindparam("name"), PROJECTS.c.domain_id == _BY_NAME),
}


def user(tx: Tx, user_id: str) -> User | None:
    """A user by id."""
    row = tx.execute(_USER, {"user_id": user_id}).first()
    return None if row is None else as_struct(User, row)


def user_in(tx: Tx, name: str, domain_id: str | None, domain_name: str | None) -> User | None:
    """A user by name, in a domain given by id or by name."""
    statement = _USER_IN["id" if domain_id is not None else "name"]
    row = tx.execute(statement, _parameters(name, domain_id, domain_name)).first()
    return None if row is None else as_struct(User, row)


def project_id_in(tx: Tx, name: str, domain_id: str | None, domain_name: str | None) -> str | None:
    """The id of a project by name, in a domain given by id or by name."""
    if not (domain_id or domain_name):
        return None
    statement = _PROJECT_IN["id" if domain_id is not None else "name"]
    return tx.execute(statement, _parameters(name, domain_id, domain_name)).scalar()


def domain_id_of(tx: Tx, domain_name: str) -> str | None:
    """The id of a domain by name."""
    return tx.execute(_DOMAIN_BY_NAME, {"domain_name": domain_name}).scalar()


def _parameters(name: str, domain_id: str | None, domain_name: str | None) -> dict[str, str | None]:
    if domain_id is not None:
        return {"name": name, "domain_id": domain_id}
    return {"name": name, "domain_name": domain_name}
