"""Roles of users and groups on projects, domains and the system; with OS-INHERIT those that count below only."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Reply, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.auth.session import write_and_revoke
from pileus.services.identity.api.guard import guarded, path_resources
from pileus.services.identity.api.listing import collection
from pileus.services.identity.db import assignments, groups, projects, roles, users
from pileus.services.identity.db.assignments import SYSTEM_ID, Assignment, AssignmentFilter
from pileus.services.identity.db.roles import Role
from pileus.services.identity.errors import InvalidInput, ResourceNotFound

INHERITED = "/inherited_to_projects"


def _grant(call: Call[Any]) -> Assignment:
    path = call.path
    actor = "user" if "user_id" in path else "group"
    target = next((kind for kind in ("project", "domain") if f"{kind}_id" in path), "system")
    return Assignment(
        actor_kind=actor, actor_id=path[f"{actor}_id"], target_kind=target,
        target_id=SYSTEM_ID if target == "system" else path[f"{target}_id"], role_id=path.get("role_id", ""),
        inherited=call.route.path.endswith(INHERITED),
    )


async def list_grants(call: Call[None]) -> dict[str, Any]:
    """The roles of one actor on one target."""
    found = await call.rt.db.read(_roles, _grant(call))
    return collection(call, "roles", [views.role(call, row) for row in found])


async def check_grant(call: Call[None]) -> Reply:
    """204 when the role is granted, 404 when not."""
    grant = _grant(call)
    if not await call.rt.db.read(_granted, grant):
        raise _no_such(grant)
    return Reply(status=204)


async def create_grant(call: Call[None]) -> None:
    """Grant a role; granting it again changes nothing."""
    await write_and_revoke(call.rt, _add, _grant(call))


async def revoke_grant(call: Call[None]) -> None:
    """Take a role back."""
    await write_and_revoke(call.rt, _remove, _grant(call))


def _check_ends(tx: Tx, grant: Assignment) -> None:
    actor = users.get(tx, grant.actor_id) if grant.actor_kind == "user" else groups.get(tx, grant.actor_id)
    if actor is None:
        raise ResourceNotFound(kind=grant.actor_kind, id=grant.actor_id)
    if grant.target_kind == "system":
        return
    target = projects.get(tx, grant.target_id)
    if target is None or (grant.target_kind == "domain" and not target.is_domain):
        raise ResourceNotFound(kind=grant.target_kind, id=grant.target_id)


def _check_role(tx: Tx, grant: Assignment) -> None:
    role = roles.get(tx, grant.role_id)
    if role is None:
        raise ResourceNotFound(kind="role", id=grant.role_id)
    if role.domain_id is None:
        return
    target = projects.get(tx, grant.target_id)
    if target is None:
        raise InvalidInput(reason="A domain's role cannot be assigned on the system.")
    if role.domain_id != (target.id if target.is_domain else target.domain_id):
        raise InvalidInput(reason="A domain's role can only be assigned within that domain.")


def _roles(tx: Tx, grant: Assignment) -> list[Role]:
    _check_ends(tx, grant)
    wanted = AssignmentFilter(
        actors=(grant.actor_id,), targets=(grant.target_id,), target_kind=grant.target_kind, inherited=grant.inherited
    )
    return roles.by_ids(tx, [item.role_id for item in assignments.find(tx, wanted)])


def _granted(tx: Tx, grant: Assignment) -> bool:
    _check_ends(tx, grant)
    _check_role(tx, grant)
    return assignments.has(tx, grant)


def _add(tx: Tx, grant: Assignment) -> None:
    _check_ends(tx, grant)
    _check_role(tx, grant)
    assignments.add(tx, grant)


def _remove(tx: Tx, grant: Assignment) -> None:
    if not assignments.remove(tx, grant):
        raise _no_such(grant)


def _no_such(grant: Assignment) -> ResourceNotFound:
    where = f"{grant.target_kind} {grant.target_id}"
    return ResourceNotFound(
        kind="role assignment", id=f"role {grant.role_id} of {grant.actor_kind} {grant.actor_id} on {where}"
    )


def _routes(collection_path: str, suffix: str, list_rule: str | None, rules: tuple[str, str, str]) -> list[Route]:
    check, create, revoke = rules
    one = f"{collection_path}/{{role_id}}{suffix}"
    found = [
        Route(method="GET", path=one, policy=ANY_TOKEN, success=204,
              handler=guarded(check, check_grant, path_resources)),
        Route(method="PUT", path=one, policy=ANY_TOKEN, success=204,
              handler=guarded(create, create_grant, path_resources)),
        Route(method="DELETE", path=one, policy=ANY_TOKEN, success=204,
              handler=guarded(revoke, revoke_grant, path_resources)),
    ]
    if list_rule is not None:
        found.append(Route(method="GET", path=collection_path + suffix, policy=ANY_TOKEN,
                           handler=guarded(list_rule, list_grants, path_resources)))
    return found


def _all_routes() -> list[Route]:
    plain = ("identity:check_grant", "identity:create_grant", "identity:revoke_grant")
    found = []
    for actor in ("user", "group"):
        for target in ("project", "domain"):
            path = f"/{target}s/{{{target}_id}}/{actor}s/{{{actor}_id}}/roles"
            found += _routes("/v3" + path, "", "identity:list_grants", plain)
            # Upstream lists inherited grants on domains only.
            listed = "identity:list_grants" if target == "domain" else None
            found += _routes("/v3/OS-INHERIT" + path, INHERITED, listed, plain)
        rules = tuple(f"identity:{verb}_system_grant_for_{actor}" for verb in ("check", "create", "revoke"))
        path = f"/v3/system/{actor}s/{{{actor}_id}}/roles"
        found += _routes(path, "", f"identity:list_system_grants_for_{actor}", (rules[0], rules[1], rules[2]))
    return found


ROUTES = tuple(_all_routes())
