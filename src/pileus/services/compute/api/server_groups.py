"""Server groups: servers that should share a host, or not."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.http import Call, Reply, Route, versioned
from pileus.kernel.http.paging import parse_page
from pileus.services.compute.api import queries, values
from pileus.services.compute.db import server_groups
from pileus.services.compute.db.quota_classes import ClassQuotas
from pileus.services.compute.db.server_groups import ServerGroup
from pileus.services.compute.errors import ServerGroupNotFound

Policy = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
UNSET = msgspec.UNSET
Unset: TypeAlias = msgspec.UnsetType
RULE_KEY = "max_server_per_host"


class CreateServerGroup(msgspec.Struct, forbid_unknown_fields=True):
    name: values.Name
    policies: versioned(list[Policy] | Unset, until="2.63") = UNSET  # type: ignore[valid-type]
    policy: versioned(Policy | Unset, since="2.64") = UNSET  # type: ignore[valid-type]
    rules: versioned(dict[str, values.Number] | Unset, since="2.64") = UNSET  # type: ignore[valid-type]


def _view(group: ServerGroup, members: list[str], call: Call[Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": group.id, "name": group.name, "members": members}
    if call.at_least("2.64"):
        shown |= {"policy": group.policy, "rules": group.rules}
    else:
        shown |= {"policies": [group.policy], "metadata": {}}
    if call.at_least("2.13"):
        shown |= {"project_id": group.project_id, "user_id": group.user_id}
    return shown


async def list_groups(call: Call[None]) -> dict[str, Any]:
    """Those of the project; of all projects for administrators who ask."""
    queries.only(call, "all_projects", "limit", "offset")
    page, offset = parse_page(call.query), queries.integer(call.query.get("offset"), "offset")
    everywhere = "all_projects" in call.query and call.allows("os_compute_api:os-server-groups:index:all_projects")

    def read(tx: Tx) -> Any:
        project = None if everywhere else call.context.project_id
        found = server_groups.of_project(tx, project, limit=page.limit, offset=offset)
        return found, server_groups.members(tx, [group.id for group in found])

    found, members = await call.rt.db.read(read)
    return {"server_groups": [_view(group, members[group.id], call) for group in found]}


def _get(tx: Tx, call: Call[Any]) -> ServerGroup:
    group = server_groups.get(tx, call.path["group_id"])
    known = group is not None and (
        group.project_id == call.context.project_id or call.allows("context_is_admin")
    )
    if group is None or not known:
        raise ServerGroupNotFound(group_id=call.path["group_id"][:64])
    call.enforce(call.route.policy, project_id=group.project_id)
    return group


async def show_group(call: Call[None]) -> dict[str, Any]:
    """One."""

    def read(tx: Tx) -> Any:
        group = _get(tx, call)
        return group, server_groups.members(tx, [group.id])[group.id]

    group, members = await call.rt.db.read(read)
    return {"server_group": _view(group, members, call)}


async def create_group(call: Call[CreateServerGroup]) -> dict[str, Any]:
    """A new one, without members: servers join when they are made."""
    policy, rules = _policy(call)
    name = values.name(call.body.name)

    def write(tx: Tx) -> ServerGroup:
        project_id = call.context.project_id or ""
        if call.rt.get(ClassQuotas).exceeded(tx, project_id, {"server_groups": 1}):
            raise Forbidden("Quota exceeded, too many server groups.")
        group = ServerGroup(tx.clock.new_id(), project_id, call.context.user_id or "", name, policy, rules, tx.now())
        server_groups.insert(tx, group)
        return group

    return {"server_group": _view(await call.rt.db.write(write), [], call)}


def _policy(call: Call[CreateServerGroup]) -> tuple[str, dict[str, int]]:
    body = call.body
    policies = [body.policy] if isinstance(body.policy, str) else body.policies
    if not isinstance(policies, list) or len(policies) != 1:
        raise BadRequest("Invalid input for field/attribute server_group. Exactly one policy is required.")
    policy: str = policies[0]
    if policy.startswith("soft-") and not call.at_least("2.15"):
        raise BadRequest(f"Invalid input for field/attribute 0. Value: {policy}.")
    rules = body.rules if isinstance(body.rules, dict) else {}
    if set(rules) - {RULE_KEY}:
        raise BadRequest("Invalid input for field/attribute rules. Only max_server_per_host is known.")
    if rules and policy != "anti-affinity":
        raise BadRequest("Only anti-affinity policy supports rules.")
    return policy, {name: values.number(value, name, minimum=1) for name, value in rules.items()}


async def delete_group(call: Call[None]) -> Reply:
    """Its servers stay."""

    def write(tx: Tx) -> None:
        server_groups.remove(tx, _get(tx, call).id)

    await call.rt.db.write(write)
    return Reply(None)


_RULE = "os_compute_api:os-server-groups"
_PATH = "/v2.1/os-server-groups"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_groups, policy=f"{_RULE}:index"),
    Route(method="POST", path=_PATH, handler=create_group, policy=f"{_RULE}:create", body=CreateServerGroup,
          envelope="server_group"),
    Route(method="GET", path=_PATH + "/{group_id}", handler=show_group, policy=f"{_RULE}:show"),
    Route(method="DELETE", path=_PATH + "/{group_id}", handler=delete_group, policy=f"{_RULE}:delete", success=204),
)
