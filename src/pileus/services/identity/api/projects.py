"""/v3/projects: list, create, show (with parents and subtree), update, delete."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Reply, Route
from pileus.services.identity.api import domains, views
from pileus.services.identity.api.auth.session import revocation_kept_s, write_and_revoke
from pileus.services.identity.api.bodies import (
    IMMUTABLE,
    MAX_TAGS,
    Description,
    Fields,
    Id,
    Tags,
    Unset,
    check_options,
    given,
    merged,
    merged_options,
    split,
)
from pileus.services.identity.api.guard import body_domain, default_domain, guarded, own_domain, path_resources
from pileus.services.identity.api.listing import collection, filters, is_true, window
from pileus.services.identity.db import projects, removal, revocations
from pileus.services.identity.db.filters import Filter
from pileus.services.identity.db.projects import MAX_TREE_DEPTH, Project, TagFilter
from pileus.services.identity.errors import (
    InvalidInput,
    NameTaken,
    NotAllowed,
    ResourceImmutable,
    ResourceNotFound,
)

OPTIONS = {IMMUTABLE: bool}
FILTERS = {"domain_id": str, "enabled": bool, "name": str, "parent_id": str, "is_domain": bool}

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class CreateProject(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    domain_id: Id | None = None
    parent_id: Id | None = None
    is_domain: bool = False
    description: Description | None = None
    enabled: bool = True
    tags: Tags = []
    options: dict[str, Any] = {}


class UpdateProject(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | Unset = msgspec.UNSET
    domain_id: Id | Unset | None = msgspec.UNSET
    parent_id: Id | Unset | None = msgspec.UNSET
    is_domain: bool | Unset = msgspec.UNSET
    description: Description | Unset | None = msgspec.UNSET
    enabled: bool | Unset = msgspec.UNSET
    tags: Tags | Unset = msgspec.UNSET
    options: dict[str, Any] | Unset = msgspec.UNSET


async def list_projects(call: Call[None]) -> dict[str, Any]:
    """All projects; domains only when asked for with is_domain. A domain-scoped caller sees their domain's."""
    wanted, asked = filters(call, FILTERS), window(call)
    if "is_domain" not in call.query:
        wanted += (Filter("is_domain", False),)
    if call.context.domain_id is not None:
        wanted += (Filter("domain_id", call.context.domain_id),)
    found = await call.rt.db.read(projects.listing, wanted, _tag_filter(call), asked)
    return collection(call, "projects", [views.project(call, row) for row in found], asked)


async def create_project(call: Call[Fields]) -> Reply:
    """A new project in a domain, perhaps below another project; with is_domain, a domain."""
    wanted, extra = split(call.body, CreateProject)
    check_options(wanted.options, OPTIONS)
    if wanted.is_domain:
        call.enforce("identity:create_domain")
        row = await domains.make_domain(call, wanted.name, wanted.description or "", wanted.enabled, wanted.tags,
                                        wanted.options, extra, call.rt.clock.new_hex_id())
    else:
        row = await call.rt.db.write(_insert, call.rt.clock.new_hex_id(), wanted, extra, default_domain(call))
    return Reply({"project": views.project(call, row)})


def _insert(tx: Tx, project_id: str, wanted: CreateProject, extra: Fields, fallback_domain: str) -> Project:
    parent = projects.get(tx, wanted.parent_id or wanted.domain_id or fallback_domain)
    if parent is None or (wanted.parent_id is None and not parent.is_domain):
        raise InvalidInput(reason=f"Could not find the parent {wanted.parent_id or wanted.domain_id}.")
    domain_id = parent.id if parent.is_domain else parent.domain_id
    if wanted.domain_id is not None and wanted.domain_id != domain_id:
        raise InvalidInput(reason="The parent project is not in that domain.")
    above = projects.ancestors(tx, parent)
    if len(above) >= MAX_TREE_DEPTH:
        raise NotAllowed(reason=f"projects may be at most {MAX_TREE_DEPTH} levels deep.")
    if any(not project.enabled for project in (parent, *above)):
        raise NotAllowed(reason="cannot create a project below one that is disabled.")
    _check_name_free(tx, wanted.name, domain_id)
    row = Project(
        id=project_id, domain_id=domain_id, parent_id=parent.id, name=wanted.name, is_domain=False,
        enabled=wanted.enabled, description=wanted.description or "", options=merged_options({}, wanted.options),
        extra=extra, tags=tuple(sorted(set(wanted.tags))),
    )
    projects.insert(tx, row)
    return row


async def show_project(call: Call[None]) -> dict[str, Any]:
    """One project; the query may ask for what is above and below, as lists or as trees of ids."""
    row, extra = await call.rt.db.read(_with_relatives, call.path["project_id"], call)
    return {"project": views.project(call, row) | extra}


def _with_relatives(tx: Tx, project_id: str, call: Call[None]) -> tuple[Project, Fields]:
    row = find_project(tx, project_id)
    asked = {
        name for name in ("parents_as_list", "parents_as_ids", "subtree_as_list", "subtree_as_ids")
        if is_true(call.query.get(name))
    }
    for kind in ("parents", "subtree"):
        if {f"{kind}_as_list", f"{kind}_as_ids"} <= asked:
            raise InvalidInput(reason=f"Cannot use {kind}_as_list and {kind}_as_ids at the same time.")
    extra: Fields = {}
    above = projects.ancestors(tx, row) if "parents_as_list" in asked or "parents_as_ids" in asked else []
    if "parents_as_list" in asked:
        visible = [p for p in above if not p.is_domain and call.allows("identity:get_project", target=_target(p))]
        extra["parents"] = [{"project": views.project(call, parent)} for parent in visible]
    elif "parents_as_ids" in asked:
        extra["parents"] = _chain([project.id for project in above])
    below = projects.subtree(tx, project_id) if "subtree_as_list" in asked or "subtree_as_ids" in asked else []
    if "subtree_as_list" in asked:
        visible = [p for p in below if call.allows("identity:get_project", target=_target(p))]
        extra["subtree"] = [{"project": views.project(call, child)} for child in visible]
    elif "subtree_as_ids" in asked:
        extra["subtree"] = _tree(project_id, below)
    return row, extra


def _target(project: Project) -> Fields:
    return {"project": {"id": project.id, "domain_id": project.domain_id}}


def _chain(ids: list[str]) -> Fields | None:
    chain: Fields | None = None
    for project_id in reversed(ids):
        chain = {project_id: chain}
    return chain


def _tree(root: str, below: list[Project]) -> Fields | None:
    nodes: dict[str, Fields] = {root: {}}
    for project in below:
        nodes[project.id] = {}
    for project in below:
        nodes[project.parent_id or root][project.id] = nodes[project.id]

    def pruned(node: Fields) -> Fields | None:
        return {key: pruned(value) for key, value in node.items()} or None

    return pruned(nodes[root])


async def update_project(call: Call[Fields]) -> dict[str, Any]:
    """Change a project. Its domain, its place in the tree and its nature stay."""
    wanted, extra = split(call.body, UpdateProject)
    check_options(wanted.options, OPTIONS)
    row = await write_and_revoke(call.rt, _update, call.path["project_id"], wanted, extra,
                                 revocation_kept_s(call.rt.config))
    return {"project": views.project(call, row)}


def _update(tx: Tx, project_id: str, wanted: UpdateProject, extra: Fields, kept_s: float) -> Project:
    row = find_project(tx, project_id)
    if row.is_domain:
        raise InvalidInput(reason="This is a domain: update it as one.")
    check_mutable(row, "project", wanted.options)
    for name in ("domain_id", "parent_id", "is_domain"):
        asked = getattr(wanted, name)
        if asked is not msgspec.UNSET and asked != getattr(row, name):
            raise InvalidInput(reason=f"Update of `{name}` is not allowed.")
    changes = given(wanted, "name", "enabled")
    if wanted.description is not msgspec.UNSET:
        changes["description"] = wanted.description or ""
    if isinstance(wanted.name, str) and wanted.name != row.name:
        _check_name_free(tx, wanted.name, row.domain_id)
    if wanted.enabled is False and row.enabled:
        if any(child.enabled for child in projects.subtree(tx, project_id)):
            raise NotAllowed(reason="cannot disable a project that has enabled projects below it.")
        revocations.revoke(tx, "project", project_id, keep_for_s=kept_s)
    if wanted.enabled is True and any(not parent.enabled for parent in projects.ancestors(tx, row)):
        raise NotAllowed(reason="cannot enable a project below one that is disabled.")
    changes |= {"extra": merged(row.extra, extra), "options": merged_options(row.options, wanted.options)}
    projects.update(tx, project_id, changes)
    if not isinstance(wanted.tags, msgspec.UnsetType):
        projects.set_tags(tx, project_id, wanted.tags)
    return find_project(tx, project_id)


async def delete_project(call: Call[None]) -> None:
    """Delete a project with all assignments on it; it must have none below it."""
    await write_and_revoke(call.rt, _delete, call.path["project_id"], revocation_kept_s(call.rt.config))


def _delete(tx: Tx, project_id: str, kept_s: float) -> None:
    row = find_project(tx, project_id)
    check_mutable(row, "project", msgspec.UNSET)
    if row.is_domain:
        raise NotAllowed(reason="this is a domain: delete it as one.")
    if projects.children(tx, project_id):
        raise NotAllowed(reason="cannot delete a project that has projects below it.")
    removal.remove_projects(tx, [project_id], kept_s)


def find_project(tx: Tx, project_id: str) -> Project:
    """A project, or 404."""
    row = projects.get(tx, project_id)
    if row is None:
        raise ResourceNotFound(kind="project", id=project_id)
    return row


def check_mutable(row: Project, kind: str, new_options: dict[str, Any] | Unset) -> None:
    """403 for what is marked immutable, unless this very change takes the mark away."""
    unmarking = isinstance(new_options, dict) and IMMUTABLE in new_options and not new_options[IMMUTABLE]
    if row.options.get(IMMUTABLE) and not unmarking:
        raise ResourceImmutable(kind=kind, id=row.id)


def _check_name_free(tx: Tx, name: str, domain_id: str | None) -> None:
    if projects.get_by_name(tx, name, domain_id) is not None:
        raise NameTaken(kind="project", name=name, where=f" in domain {domain_id}")


def _tag_filter(call: Call[Any]) -> TagFilter:
    def names(key: str) -> tuple[str, ...]:
        return tuple(name for name in call.query.get(key, "").split(",") if name)[:MAX_TAGS]

    return TagFilter(names("tags"), names("tags-any"), names("not-tags"), names("not-tags-any"))


ROUTES = (
    Route(method="GET", path="/v3/projects", handler=guarded("identity:list_projects", list_projects, own_domain),
          policy=ANY_TOKEN),
    Route(method="POST", path="/v3/projects", policy=ANY_TOKEN, success=201, body=dict[str, Any], envelope="project",
          handler=guarded("identity:create_project", create_project, body_domain("project"))),
    Route(method="GET", path="/v3/projects/{project_id}", policy=ANY_TOKEN,
          handler=guarded("identity:get_project", show_project, path_resources)),
    Route(method="PATCH", path="/v3/projects/{project_id}", policy=ANY_TOKEN, body=dict[str, Any], envelope="project",
          handler=guarded("identity:update_project", update_project, path_resources)),
    Route(method="DELETE", path="/v3/projects/{project_id}", policy=ANY_TOKEN, success=204,
          handler=guarded("identity:delete_project", delete_project, path_resources)),
)
