"""/v3/users: list, create, show, update, delete, change the password, groups and projects of a user."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, PUBLIC, Call, Reply, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.auth.methods import check_password, compliance_of
from pileus.services.identity.api.auth.passwords import PasswordChecks, check_length
from pileus.services.identity.api.auth.session import revocation_kept_s, write_and_revoke
from pileus.services.identity.api.bodies import (
    Description,
    Fields,
    Id,
    Unset,
    check_options,
    given,
    merged,
    merged_options,
    split,
)
from pileus.services.identity.api.guard import body_domain, default_domain, guarded, own_domain, path_resources
from pileus.services.identity.api.listing import collection, filters, window
from pileus.services.identity.db import groups, projects, removal, revocations, tokens, users
from pileus.services.identity.db.filters import Filter
from pileus.services.identity.db.users import User
from pileus.services.identity.errors import (
    InvalidCredentials,
    InvalidInput,
    NameTaken,
    NotAllowed,
    PasswordRejected,
    ResourceNotFound,
)
from pileus.services.identity.logic import password_rules

OPTIONS: dict[str, type | tuple[type, ...]] = {
    "ignore_change_password_upon_first_use": bool,
    "ignore_password_expiry": bool,
    "ignore_lockout_failure_attempts": bool,
    "ignore_user_inactivity": bool,
    "lock_password": bool,
}
FILTERS = {"domain_id": str, "enabled": bool, "name": str}
HISTORY_KEPT = 24

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class CreateUser(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    domain_id: Id | None = None
    password: str | None = None
    enabled: bool = True
    description: Description | None = None
    default_project_id: Id | None = None
    options: dict[str, Any] = {}


class UpdateUser(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | Unset = msgspec.UNSET
    domain_id: Id | Unset = msgspec.UNSET
    password: str | Unset | None = msgspec.UNSET
    enabled: bool | Unset = msgspec.UNSET
    description: Description | Unset | None = msgspec.UNSET
    default_project_id: Id | Unset | None = msgspec.UNSET
    options: dict[str, Any] | Unset = msgspec.UNSET


class ChangePassword(msgspec.Struct):
    original_password: str
    password: str


async def list_users(call: Call[None]) -> dict[str, Any]:
    """All users; a domain-scoped caller sees their domain's."""
    wanted, asked = filters(call, FILTERS), window(call)
    if call.context.domain_id is not None:
        wanted += (Filter("domain_id", call.context.domain_id),)
    found = await call.rt.db.read(users.listing, wanted, asked)
    return collection(call, "users", [views.user(call, row) for row in found], asked)


async def create_user(call: Call[Fields]) -> Reply:
    """A new user in a domain."""
    wanted, extra = split(call.body, CreateUser)
    check_options(wanted.options, OPTIONS)
    rules, now = compliance_of(call.rt.config), call.rt.clock.now()
    hashed = None if wanted.password is None else await _hashed(call, wanted.password)
    row = User(
        id=call.rt.clock.new_hex_id(), domain_id=wanted.domain_id or default_domain(call), name=wanted.name,
        enabled=wanted.enabled, description=wanted.description, default_project_id=wanted.default_project_id,
        password_hash=hashed, password_created_at=None if hashed is None else now, created_at=now,
        password_expires_at=None
        if hashed is None
        else password_rules.expiry(rules, wanted.options, now, by_admin=True),
        options=merged_options({}, wanted.options), extra=extra,
    )
    await call.rt.db.write(_insert, row)
    _remember(call, row.id, hashed, wanted.password)
    return Reply({"user": views.user(call, row)})


def _insert(tx: Tx, row: User) -> None:
    if projects.get_domain(tx, row.domain_id) is None:
        raise ResourceNotFound(kind="domain", id=row.domain_id)
    _check_name_free(tx, row.name, row.domain_id)
    _check_default_project(tx, row.default_project_id)
    users.insert(tx, row)


async def show_user(call: Call[None]) -> dict[str, Any]:
    """One user."""
    return {"user": views.user(call, await call.rt.db.read(find_user, call.path["user_id"]))}


async def update_user(call: Call[Fields]) -> dict[str, Any]:
    """Change a user. A new password or being disabled ends all their tokens."""
    wanted, extra = split(call.body, UpdateUser)
    check_options(wanted.options, OPTIONS)
    user = await call.rt.db.read(find_user, call.path["user_id"])
    password = wanted.password if isinstance(wanted.password, str) else None
    hashed = None if password is None else await _hashed(call, password)
    row = await write_and_revoke(call.rt, _update, user.id, wanted, extra, hashed, call)
    _remember(call, row.id, hashed, password)
    return {"user": views.user(call, row)}


def _update(
    tx: Tx, user_id: str, wanted: UpdateUser, extra: Fields, hashed: str | None, call: Call[Any]
) -> User:
    row = find_user(tx, user_id)
    if not isinstance(wanted.domain_id, msgspec.UnsetType) and wanted.domain_id != row.domain_id:
        raise InvalidInput(reason="Update of `domain_id` is not allowed.")
    if isinstance(wanted.name, str) and wanted.name != row.name:
        _check_name_free(tx, wanted.name, row.domain_id)
    if isinstance(wanted.default_project_id, str):
        _check_default_project(tx, wanted.default_project_id)
    options = merged_options(row.options, wanted.options)
    changes = given(wanted, "name", "enabled", "description", "default_project_id")
    users.update(tx, user_id, changes | {"extra": merged(row.extra, extra), "options": options})
    if wanted.password is not msgspec.UNSET:
        expires = password_rules.expiry(compliance_of(call.rt.config), options, tx.now(), by_admin=True)
        users.set_password(tx, user_id, hashed, None if hashed is None else expires)
        users.trim_history(tx, user_id, HISTORY_KEPT)
    if wanted.password is not msgspec.UNSET or (wanted.enabled is False and row.enabled):
        revocations.revoke(tx, "user", user_id, keep_for_s=revocation_kept_s(call.rt.config))
    return find_user(tx, user_id)


async def delete_user(call: Call[None]) -> None:
    """Delete a user with their assignments, memberships and tokens."""
    await write_and_revoke(call.rt, _delete, call.path["user_id"], revocation_kept_s(call.rt.config))


def _delete(tx: Tx, user_id: str, kept_s: float) -> None:
    find_user(tx, user_id)
    removal.remove_users(tx, [user_id], kept_s)


async def change_password(call: Call[ChangePassword]) -> None:
    """Users change their own password; no token is needed, the present password is (it may be expired)."""
    body = call.body
    check_length(body.original_password)
    user = await call.rt.db.read(users.get, call.path["user_id"])
    await check_password(call.rt, user, body.original_password)
    if user is None or not await call.rt.db.read(_is_enabled, user.id):
        raise InvalidCredentials()
    rules = compliance_of(call.rt.config)
    if user.options.get("lock_password"):
        raise NotAllowed(reason="this user's password is locked.")
    if password_rules.too_young(rules, user.password_created_at, call.rt.clock.now()):
        raise PasswordRejected(reason=f"it may be changed after {rules.minimum_password_age_days} days only.")
    if body.password == body.original_password:
        raise PasswordRejected(reason="it is the present one.")
    hashed = await _hashed(call, body.password)
    if rules.unique_last_password_count > 1:
        history = await call.rt.db.read(users.password_history, user.id, rules.unique_last_password_count)
        if await call.rt.get(PasswordChecks).is_among(body.password, history):
            raise PasswordRejected(reason=f"it is one of the latest {rules.unique_last_password_count}.")
    await write_and_revoke(call.rt, _change, user, hashed, call)
    _remember(call, user.id, hashed, body.password)


def _change(tx: Tx, user: User, hashed: str, call: Call[Any]) -> None:
    present = users.get(tx, user.id)
    if present is None or present.password_hash != user.password_hash:
        raise InvalidCredentials(detail="the password was changed meanwhile")
    rules = compliance_of(call.rt.config)
    users.set_password(tx, user.id, hashed, password_rules.expiry(rules, user.options, tx.now(), by_admin=False))
    users.trim_history(tx, user.id, HISTORY_KEPT)
    revocations.revoke(tx, "user", user.id, keep_for_s=revocation_kept_s(call.rt.config))


async def list_groups(call: Call[None]) -> dict[str, Any]:
    """The groups that a user is in."""
    found = await call.rt.db.read(_groups, call.path["user_id"], filters(call, {"name": str}))
    return collection(call, "groups", [views.group(call, row) for row in found])


def _groups(tx: Tx, user_id: str, wanted: tuple[Filter, ...]) -> list[groups.Group]:
    find_user(tx, user_id)
    return groups.by_ids(tx, groups.groups_of(tx, user_id), wanted)


async def list_projects(call: Call[None]) -> dict[str, Any]:
    """The projects that a user has a role on."""
    wanted = filters(call, {"domain_id": str, "enabled": bool, "name": str})
    found = await call.rt.db.read(_projects, call.path["user_id"], wanted)
    return collection(call, "projects", [views.project(call, row) for row in found])


def _projects(tx: Tx, user_id: str, wanted: tuple[Filter, ...]) -> list[projects.Project]:
    find_user(tx, user_id)
    ids, _, _ = tokens.reachable(tx, user_id)
    return projects.by_ids(tx, ids, wanted)


def find_user(tx: Tx, user_id: str) -> User:
    """A user, or 404."""
    row = users.get(tx, user_id)
    if row is None:
        raise ResourceNotFound(kind="user", id=user_id)
    return row


def _is_enabled(tx: Tx, user_id: str) -> bool:
    user = tokens.user_of(tx, user_id)
    return user is not None and user.enabled


async def _hashed(call: Call[Any], password: str) -> str:
    reason = password_rules.refusal(compliance_of(call.rt.config), password)
    if reason is not None:
        raise PasswordRejected(reason=reason)
    return await call.rt.get(PasswordChecks).hash(password)


def _remember(call: Call[Any], user_id: str, hashed: str | None, password: str | None) -> None:
    if hashed is not None and password is not None:
        call.rt.get(PasswordChecks).remember(user_id, hashed, password)


def _check_name_free(tx: Tx, name: str, domain_id: str) -> None:
    if users.get_by_name(tx, name, domain_id) is not None:
        raise NameTaken(kind="user", name=name, where=f" in domain {domain_id}")


def _check_default_project(tx: Tx, project_id: str | None) -> None:
    # A domain acting as a project is refused as a default; one that does not exist (any more) is accepted.
    if project_id is not None and (row := projects.get(tx, project_id)) is not None and row.is_domain:
        raise InvalidInput(reason="A domain cannot be a user's default project.")


ROUTES = (
    Route(method="GET", path="/v3/users", handler=guarded("identity:list_users", list_users, own_domain),
          policy=ANY_TOKEN),
    Route(method="POST", path="/v3/users", policy=ANY_TOKEN, success=201, body=dict[str, Any], envelope="user",
          handler=guarded("identity:create_user", create_user, body_domain("user"))),
    Route(method="GET", path="/v3/users/{user_id}", policy=ANY_TOKEN,
          handler=guarded("identity:get_user", show_user, path_resources)),
    Route(method="PATCH", path="/v3/users/{user_id}", policy=ANY_TOKEN, body=dict[str, Any], envelope="user",
          handler=guarded("identity:update_user", update_user, path_resources)),
    Route(method="DELETE", path="/v3/users/{user_id}", policy=ANY_TOKEN, success=204,
          handler=guarded("identity:delete_user", delete_user, path_resources)),
    Route(method="POST", path="/v3/users/{user_id}/password", policy=PUBLIC, success=204, body=ChangePassword,
          envelope="user", handler=change_password, max_body_bytes=65_536),
    Route(method="GET", path="/v3/users/{user_id}/groups", policy=ANY_TOKEN,
          handler=guarded("identity:list_groups_for_user", list_groups, path_resources)),
    Route(method="GET", path="/v3/users/{user_id}/projects", policy=ANY_TOKEN,
          handler=guarded("identity:list_user_projects", list_projects, path_resources)),
)
