"""What the database says of a token now: its user, its scope, the roles there. Tokens themselves are not stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, or_, select

from pileus.kernel.db import Tx
from pileus.services.identity.db import revocations
from pileus.services.identity.db.assignments import ASSIGNMENTS, SYSTEM_ID
from pileus.services.identity.db.filters import as_struct
from pileus.services.identity.db.groups import MEMBERSHIPS
from pileus.services.identity.db.projects import MAX_TREE_DEPTH, PROJECTS
from pileus.services.identity.db.roles import IMPLIED_ROLES, ROLES
from pileus.services.identity.db.users import USERS
from pileus.services.identity.logic.token_payload import DOMAIN, PROJECT, SYSTEM, UNSCOPED, TokenPayload

DOMAINS = PROJECTS.alias("domains")


class NamedRole(msgspec.Struct, frozen=True):
    """A role as a token shows it."""

    id: str
    name: str


class TokenUser(msgspec.Struct, frozen=True):
    """The token's user; `enabled` takes the domain into account."""

    id: str
    name: str
    domain_id: str
    domain_name: str
    enabled: bool
    password_expires_at: datetime | None
    default_project_id: str | None


class TokenScope(msgspec.Struct, frozen=True):
    """A project or domain that a token is for; `enabled` takes the project's domain into account."""

    id: str
    name: str
    is_domain: bool
    domain_id: str | None
    domain_name: str | None
    parent_id: str | None
    enabled: bool


_USER = (
    select(
        USERS.c.id, USERS.c.name, USERS.c.domain_id, DOMAINS.c.name.label("domain_name"),
        and_(USERS.c.enabled, DOMAINS.c.enabled).label("enabled"), USERS.c.password_expires_at,
        USERS.c.default_project_id,
    )
    .join(DOMAINS, DOMAINS.c.id == USERS.c.domain_id)
    .where(USERS.c.id == bindparam("user_id"))
)
_SCOPE = (
    select(
        PROJECTS.c.id, PROJECTS.c.name, PROJECTS.c.is_domain, DOMAINS.c.id.label("domain_id"),
        DOMAINS.c.name.label("domain_name"), PROJECTS.c.parent_id,
        and_(PROJECTS.c.enabled, or_(PROJECTS.c.is_domain, DOMAINS.c.enabled)).label("enabled"),
    )
    .outerjoin(DOMAINS, DOMAINS.c.id == PROJECTS.c.domain_id)
    .where(PROJECTS.c.id == bindparam("scope_id"))
)
_PARENT = select(PROJECTS.c.parent_id).where(PROJECTS.c.id == bindparam("project_id"))
_ACTOR = or_(
    ASSIGNMENTS.c.actor_id == bindparam("user_id"),
    ASSIGNMENTS.c.actor_id.in_(select(MEMBERSHIPS.c.group_id).where(MEMBERSHIPS.c.user_id == bindparam("user_id"))),
)
_GRANTED = (
    select(ASSIGNMENTS.c.role_id.label("role_id"))
    .where(
        _ACTOR,
        or_(
            and_(
                ASSIGNMENTS.c.target_kind == bindparam("kind"),
                ASSIGNMENTS.c.target_id == bindparam("target_id"),
                ASSIGNMENTS.c.inherited.is_(False),
            ),
            and_(
                ASSIGNMENTS.c.target_id.in_(bindparam("ancestors", expanding=True)),
                ASSIGNMENTS.c.inherited.is_(True),
            ),
        ),
    )
    .cte("held", recursive=True)
)
# A union, not a union of all: roles that imply each other in a circle must not go round for ever.
_HELD = _GRANTED.union(
    select(IMPLIED_ROLES.c.implied_role_id).join(_GRANTED, _GRANTED.c.role_id == IMPLIED_ROLES.c.prior_role_id)
)
_ROLES = (
    select(ROLES.c.id, ROLES.c.name)
    .where(ROLES.c.id.in_(select(_HELD.c.role_id)), ROLES.c.domain_id == "")
    .order_by(ROLES.c.name)
)


def user_of(tx: Tx, user_id: str) -> TokenUser | None:
    """A token's user."""
    row = tx.execute(_USER, {"user_id": user_id}).first()
    return None if row is None else as_struct(TokenUser, row)


def scope_of(tx: Tx, scope_id: str) -> TokenScope | None:
    """A token's project or domain."""
    row = tx.execute(_SCOPE, {"scope_id": scope_id}).first()
    return None if row is None else as_struct(TokenScope, row)


def project_roles(tx: Tx, user_id: str, scope: TokenScope) -> list[NamedRole]:
    """The user's roles on a project: direct, through groups, inherited, implied."""
    return _roles(tx, {
        "user_id": user_id, "kind": "project", "target_id": scope.id, "ancestors": _ancestors(tx, scope),
    })


def domain_roles(tx: Tx, user_id: str, domain_id: str) -> list[NamedRole]:
    """The user's roles on a domain itself."""
    return _roles(tx, {"user_id": user_id, "kind": "domain", "target_id": domain_id, "ancestors": []})


def system_roles(tx: Tx, user_id: str) -> list[NamedRole]:
    """The user's roles on the whole system."""
    return _roles(tx, {"user_id": user_id, "kind": "system", "target_id": SYSTEM_ID, "ancestors": []})


def is_revoked(tx: Tx, user: TokenUser, scope: TokenScope | None, audit_ids: tuple[str, ...], issued: datetime) -> bool:
    """Whether a revocation event covers the token."""
    subjects = [f"user:{user.id}", f"domain:{user.domain_id}", f"audit:{audit_ids[0]}", f"chain:{audit_ids[-1]}"]
    if scope is not None:
        subjects.append(f"{'domain' if scope.is_domain else 'project'}:{scope.id}")
        if scope.domain_id is not None:
            subjects.append(f"domain:{scope.domain_id}")
    return revocations.is_revoked(tx, subjects, issued)


def _ancestors(tx: Tx, scope: TokenScope) -> list[str]:
    found: list[str] = []
    parent_id = scope.parent_id
    while parent_id is not None and len(found) <= MAX_TREE_DEPTH:
        found.append(parent_id)
        if parent_id == scope.domain_id:
            break
        parent_id = tx.execute(_PARENT, {"project_id": parent_id}).scalar()
    return found


def _roles(tx: Tx, parameters: dict[str, Any]) -> list[NamedRole]:
    return [as_struct(NamedRole, row) for row in tx.execute(_ROLES, parameters)]


class TokenDetails(msgspec.Struct, frozen=True):
    """A token whose user, scope and roles are valid now."""

    payload: TokenPayload
    user: TokenUser
    scope: TokenScope | None
    roles: list[NamedRole]


def details(tx: Tx, payload: TokenPayload) -> TokenDetails | None:
    """All that a token means now; None when it is revoked, or user or scope are gone, disabled, or without a role.

    Its expiry is the caller's business.
    """
    user = user_of(tx, payload.user_id)
    if user is None or not user.enabled:
        return None
    scope = None
    if payload.scope_id is not None:
        scope = scope_of(tx, payload.scope_id)
        if scope is None or not scope.enabled:
            return None
    roles = _scoped_roles(tx, payload, scope)
    if payload.scope_kind != UNSCOPED and not roles:
        return None
    if is_revoked(tx, user, scope, payload.audit_ids, payload.issued_at):
        return None
    return TokenDetails(payload, user, scope, roles)


def _scoped_roles(tx: Tx, payload: TokenPayload, scope: TokenScope | None) -> list[NamedRole]:
    if payload.scope_kind == SYSTEM:
        return system_roles(tx, payload.user_id)
    if payload.scope_kind == DOMAIN and scope is not None and scope.is_domain:
        return domain_roles(tx, payload.user_id, scope.id)
    if payload.scope_kind == PROJECT and scope is not None:
        return project_roles(tx, payload.user_id, scope)
    return []


def reachable(tx: Tx, user_id: str) -> tuple[set[str], set[str], bool]:
    """Where a user has roles, through whatever way: ids of projects, ids of domains, the system."""
    query = select(ASSIGNMENTS.c.target_kind, ASSIGNMENTS.c.target_id, ASSIGNMENTS.c.inherited).where(_ACTOR)
    projects: set[str] = set()
    domains: set[str] = set()
    above: set[str] = set()
    system = False
    for row in tx.execute(query, {"user_id": user_id}):
        if row.target_kind == "system":
            system = True
        elif row.inherited:
            above.add(row.target_id)
        else:
            (projects if row.target_kind == "project" else domains).add(row.target_id)
    level = sorted(above)
    while level:
        rows = tx.all(select(PROJECTS.c.id).where(PROJECTS.c.parent_id.in_(level)))
        level = [row.id for row in rows if row.id not in above]
        projects.update(level)
        above.update(level)
    return projects, domains, system
