"""Deleting what others refer to: a row, everything that hangs on it, and the tokens that were for it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import update as sql_update

from pileus.kernel.db import Tx
from pileus.services.identity.db import assignments, groups, projects, revocations, roles, users
from pileus.services.identity.db.users import USERS


def remove_users(tx: Tx, ids: Iterable[str], keep_for_s: float) -> None:
    """Delete users with their assignments and memberships."""
    gone = list(ids)
    assignments.forget_actors(tx, gone)
    groups.forget_members(tx, gone)
    users.delete(tx, gone)
    for user_id in gone:
        revocations.revoke(tx, "user", user_id, keep_for_s=keep_for_s)


def remove_groups(tx: Tx, ids: Iterable[str]) -> None:
    """Delete groups with their assignments and memberships."""
    gone = list(ids)
    assignments.forget_actors(tx, gone)
    groups.delete(tx, gone)


def remove_projects(tx: Tx, ids: Iterable[str], keep_for_s: float) -> None:
    """Delete projects with the assignments on them; they are nobody's default any more."""
    gone = list(ids)
    assignments.forget_targets(tx, gone)
    tx.execute(sql_update(USERS).where(USERS.c.default_project_id.in_(gone)).values(default_project_id=None))
    projects.delete(tx, gone)
    for project_id in gone:
        revocations.revoke(tx, "project", project_id, keep_for_s=keep_for_s)


def remove_roles(tx: Tx, ids: Iterable[str]) -> None:
    """Delete roles with all their assignments."""
    gone = list(ids)
    assignments.forget_roles(tx, gone)
    roles.delete(tx, gone)


def remove_domain(tx: Tx, domain_id: str, keep_for_s: float) -> None:
    """Delete a domain with all its users, groups, roles and projects."""
    remove_users(tx, users.ids_of_domain(tx, domain_id), keep_for_s)
    remove_groups(tx, groups.ids_of_domain(tx, domain_id))
    remove_roles(tx, roles.ids_of_domain(tx, domain_id))
    remove_projects(tx, [project.id for project in projects.subtree(tx, domain_id)], keep_for_s)
    assignments.forget_targets(tx, [domain_id])
    projects.delete(tx, [domain_id])
    revocations.revoke(tx, "domain", domain_id, keep_for_s=keep_for_s)
