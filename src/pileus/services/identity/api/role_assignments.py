"""/v3/role_assignments: who has which role where, as granted or as it amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Route
from pileus.services.identity.api.listing import collection, is_true
from pileus.services.identity.api.projects import find_project
from pileus.services.identity.db import assignments, groups, projects, roles, users
from pileus.services.identity.db.assignments import SYSTEM_ID, AssignmentFilter
from pileus.services.identity.errors import InvalidInput
from pileus.services.identity.logic.effective_assignments import Effective, expand

INHERITED_TO = "scope.OS-INHERIT:inherited_to"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The query, checked. inherited None: both kinds. within_domain: only what is in the caller's domain."""

    user_id: str | None
    group_id: str | None
    role_id: str | None
    project_id: str | None
    domain_id: str | None
    system: bool
    inherited: bool | None
    effective: bool
    subtree: bool
    names: bool
    within_domain: str | None

    @property
    def target_id(self) -> str | None:
        return SYSTEM_ID if self.system else self.project_id or self.domain_id


class Names(msgspec.Struct, frozen=True):
    """Names of everything that a listing mentions, each with its domain (None for domains and global roles)."""

    users: Mapping[str, tuple[str, str | None]]
    groups: Mapping[str, tuple[str, str | None]]
    projects: Mapping[str, tuple[str, str | None]]
    roles: Mapping[str, tuple[str, str | None]]


async def list_assignments(call: Call[None]) -> dict[str, Any]:
    """Grants by user or group, role, scope; `effective` shows what they amount to, `include_names` also names."""
    subtree = is_true(call.query.get("include_subtree"))
    project_id = call.query.get("scope.project.id")
    target = {"domain_id": call.context.domain_id}
    if subtree and project_id:
        project = await call.rt.db.read(projects.get, project_id)
        target = {"domain_id": project.domain_id if project is not None else None}
    suffix = "_for_tree" if subtree else ""
    call.enforce(f"identity:list_role_assignments{suffix}", target=target)
    asked = _asked(call, subtree)
    found, names = await call.rt.db.read(_find, asked)
    return collection(call, "role_assignments", [_view(call, item, names) for item in found])


def _asked(call: Call[None], subtree: bool) -> Asked:
    query = call.query
    inherited_to = query.get(INHERITED_TO)
    asked = Asked(
        user_id=query.get("user.id") or None, group_id=query.get("group.id") or None,
        role_id=query.get("role.id") or None, project_id=query.get("scope.project.id") or None,
        domain_id=query.get("scope.domain.id") or None, system=is_true(query.get("scope.system")),
        inherited=None if inherited_to is None else inherited_to == "projects",
        effective=is_true(query.get("effective")), subtree=subtree, names=is_true(query.get("include_names")),
        within_domain=call.context.domain_id,
    )
    if sum((asked.project_id is not None, asked.domain_id is not None, asked.system)) > 1:
        raise InvalidInput(reason="Specify one of project, domain and system, not several.")
    if asked.user_id is not None and asked.group_id is not None:
        raise InvalidInput(reason="Specify a user or a group, not both.")
    if asked.effective and asked.group_id is not None:
        raise InvalidInput(reason="An effective assignment is never a group's: the list would always be empty.")
    if asked.effective and asked.inherited and asked.domain_id is not None:
        raise InvalidInput(reason="An effective assignment on a domain is never inherited: the list would be empty.")
    if subtree and asked.project_id is None:
        raise InvalidInput(reason="scope.project.id must be specified if include_subtree is also specified.")
    return asked


def _find(tx: Tx, asked: Asked) -> tuple[list[Effective], Names | None]:
    wanted_targets = _targets(tx, asked)
    found = _effective(tx, asked, wanted_targets) if asked.effective else _stored(tx, asked, wanted_targets)
    if asked.within_domain is not None:
        targets = {row.id: row for row in projects.by_ids(tx, {item.target_id for item in found})}
        found = [
            item for item in found
            if (row := targets.get(item.target_id)) is not None and asked.within_domain in (row.id, row.domain_id)
        ]
    return found, _names(tx, found) if asked.names else None


def _targets(tx: Tx, asked: Asked) -> tuple[str, ...] | None:
    if asked.subtree and asked.project_id is not None:
        find_project(tx, asked.project_id)
        return (asked.project_id, *(project.id for project in projects.subtree(tx, asked.project_id)))
    return None if asked.target_id is None else (asked.target_id,)


def _query(tx: Tx, wanted: AssignmentFilter) -> list[Effective]:
    return [
        Effective(
            actor_kind=row.actor_kind, actor_id=row.actor_id, target_kind=row.target_kind, target_id=row.target_id,
            role_id=row.role_id, inherited=row.inherited,
        )
        for row in assignments.find(tx, wanted)
    ]


def _stored(tx: Tx, asked: Asked, targets: tuple[str, ...] | None) -> list[Effective]:
    actor = asked.user_id or asked.group_id
    return _query(tx, AssignmentFilter(
        actors=None if actor is None else (actor,), targets=targets, role_id=asked.role_id, inherited=asked.inherited,
        target_kind=_target_kind(asked),
    ))


def _target_kind(asked: Asked) -> str | None:
    if asked.system:
        return "system"
    if asked.domain_id is not None:
        return "domain"
    return "project" if asked.project_id is not None else None


def _effective(tx: Tx, asked: Asked, targets: tuple[str, ...] | None) -> list[Effective]:
    actors, sources = None, None
    if asked.user_id is not None:
        actors = (asked.user_id, *groups.groups_of(tx, asked.user_id))
    if targets is not None:
        above = [
            parent.id
            for target_id in targets
            if (row := projects.get(tx, target_id)) is not None
            for parent in projects.ancestors(tx, row)
        ]
        sources = (*targets, *above)
    stored = _query(tx, AssignmentFilter(actors=actors, targets=sources, inherited=asked.inherited))
    group_ids = {item.actor_id for item in stored if item.actor_kind == "group"}
    origins = {item.target_id for item in stored if item.inherited}
    expanded = expand(
        stored,
        members={group_id: groups.members(tx, group_id) for group_id in group_ids},
        below={origin: [project.id for project in projects.subtree(tx, origin)] for origin in origins},
        implied=roles.implications(tx),
    )
    kind = _target_kind(asked)
    return [
        item for item in expanded
        if (asked.user_id in (None, item.actor_id))
        and (targets is None or item.target_id in targets)
        and (kind in (None, item.target_kind))
        and (asked.role_id in (None, item.role_id))
    ]


def _names(tx: Tx, found: list[Effective]) -> Names:
    actors = {item.actor_id for item in found}
    people = {row.id: (row.name, row.domain_id) for row in users.by_ids(tx, actors)}
    teams = {row.id: (row.name, row.domain_id) for row in groups.by_ids(tx, actors)}
    kinds = {row.id: (row.name, row.domain_id) for row in roles.by_ids(tx, {item.role_id for item in found})}
    places = {row.id: (row.name, row.domain_id) for row in projects.by_ids(tx, {item.target_id for item in found})}
    everything = (*people.values(), *teams.values(), *kinds.values(), *places.values())
    mentioned = {domain for _, domain in everything if domain}
    domains = {row.id: (row.name, row.domain_id) for row in projects.by_ids(tx, mentioned - set(places))}
    return Names(people, teams, places | domains, kinds)


def _named(names: Names | None, kind: str, identifier: str) -> dict[str, Any]:
    view: dict[str, Any] = {"id": identifier}
    known = {} if names is None else getattr(names, kind)
    if names is not None and identifier in known:
        view["name"], domain_id = known[identifier]
        if domain_id is not None:
            view["domain"] = {"id": domain_id, "name": names.projects.get(domain_id, ("", None))[0]}
    return view


def _view(call: Call[None], item: Effective, names: Names | None) -> dict[str, Any]:
    scope: dict[str, Any]
    if item.target_kind == "system":
        scope = {"system": {"all": True}}
    else:
        scope = {item.target_kind: _named(names, "projects", item.target_id)}
    if item.inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    return {
        "role": _named(names, "roles", item.role_id),
        item.actor_kind: _named(names, item.actor_kind + "s", item.actor_id),
        "scope": scope,
        "links": _links(call, item),
    }


def _links(call: Call[None], item: Effective) -> dict[str, str]:
    root = call.base_url + "/v3"
    kind, target_id = item.via_target or (item.target_kind, item.target_id)
    where = "/system" if kind == "system" else f"/{kind}s/{target_id}"
    who = f"/groups/{item.via_group}" if item.via_group is not None else f"/{item.actor_kind}s/{item.actor_id}"
    grant = f"{where}{who}/roles/{item.via_role or item.role_id}"
    links = {"assignment": f"{root}/OS-INHERIT{grant}/inherited_to_projects" if item.inherited else root + grant}
    if item.via_group is not None:
        links["membership"] = f"{root}/groups/{item.via_group}/users/{item.actor_id}"
    if item.via_role is not None:
        links["prior_role"] = f"{root}/prior_role/{item.via_role}/implies/{item.role_id}"
    return links


ROUTES = (Route(method="GET", path="/v3/role_assignments", handler=list_assignments, policy=ANY_TOKEN),)
