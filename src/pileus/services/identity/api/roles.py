"""/v3/roles: list, create, show, update, delete; global roles and those of a domain."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Reply, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.auth.session import write_and_revoke
from pileus.services.identity.api.bodies import (
    IMMUTABLE,
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
from pileus.services.identity.api.guard import path_resources
from pileus.services.identity.api.listing import collection, filters, window
from pileus.services.identity.db import projects, removal, roles
from pileus.services.identity.db.filters import Filter
from pileus.services.identity.db.roles import NO_DOMAIN, Role
from pileus.services.identity.errors import InvalidInput, NameTaken, ResourceImmutable, ResourceNotFound

OPTIONS = {IMMUTABLE: bool}

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class CreateRole(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    domain_id: Id | None = None
    description: Description | None = None
    options: dict[str, Any] = {}


class UpdateRole(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | Unset = msgspec.UNSET
    domain_id: Id | Unset | None = msgspec.UNSET
    description: Description | Unset | None = msgspec.UNSET
    options: dict[str, Any] | Unset = msgspec.UNSET


async def list_roles(call: Call[None]) -> dict[str, Any]:
    """Global roles, or with domain_id those of a domain."""
    domain_id = call.query.get("domain_id")
    call.enforce("identity:list_roles" if not domain_id else "identity:list_domain_roles")
    wanted, asked = (*filters(call, {"name": str}), Filter("domain_id", domain_id or NO_DOMAIN)), window(call)
    found = await call.rt.db.read(roles.listing, wanted, asked)
    return collection(call, "roles", [views.role(call, row) for row in found], asked)


async def create_role(call: Call[Fields]) -> Reply:
    """A new role."""
    wanted, extra = split(call.body, CreateRole)
    call.enforce("identity:create_role" if wanted.domain_id is None else "identity:create_domain_role")
    check_options(wanted.options, OPTIONS)
    row = Role(
        id=call.rt.clock.new_hex_id(), domain_id=wanted.domain_id, name=wanted.name, description=wanted.description,
        options=merged_options({}, wanted.options), extra=extra,
    )
    await call.rt.db.write(_insert, row)
    return Reply({"role": views.role(call, row)})


def _insert(tx: Tx, row: Role) -> None:
    if row.domain_id is not None and projects.get_domain(tx, row.domain_id) is None:
        raise ResourceNotFound(kind="domain", id=row.domain_id)
    _check_name_free(tx, row.name, row.domain_id)
    roles.insert(tx, row)


async def show_role(call: Call[None]) -> dict[str, Any]:
    """One role."""
    return {"role": views.role(call, await _allowed(call, "get"))}


async def update_role(call: Call[Fields]) -> dict[str, Any]:
    """Change a role; its domain stays."""
    await _allowed(call, "update")
    wanted, extra = split(call.body, UpdateRole)
    check_options(wanted.options, OPTIONS)
    row = await write_and_revoke(call.rt, _update, call.path["role_id"], wanted, extra)
    return {"role": views.role(call, row)}


def _update(tx: Tx, role_id: str, wanted: UpdateRole, extra: Fields) -> Role:
    row = find_role(tx, role_id)
    _check_mutable(row, wanted.options)
    if not isinstance(wanted.domain_id, msgspec.UnsetType) and wanted.domain_id != row.domain_id:
        raise InvalidInput(reason="Update of `domain_id` is not allowed.")
    if isinstance(wanted.name, str) and wanted.name != row.name:
        _check_name_free(tx, wanted.name, row.domain_id)
    changes = given(wanted, "name", "description")
    changes |= {"extra": merged(row.extra, extra), "options": merged_options(row.options, wanted.options)}
    roles.update(tx, role_id, changes)
    return find_role(tx, role_id)


async def delete_role(call: Call[None]) -> None:
    """Delete a role; nobody has it any more."""
    await _allowed(call, "delete")
    await write_and_revoke(call.rt, _delete, call.path["role_id"])


def _delete(tx: Tx, role_id: str) -> None:
    _check_mutable(find_role(tx, role_id), msgspec.UNSET)
    removal.remove_roles(tx, [role_id])


async def _allowed(call: Call[Any], verb: str) -> Role:
    """The role, when the caller may do that with it: global roles and those of domains have rules of their own."""
    target = await path_resources(call)
    domain_id = target["target"].get("role", {}).get("domain_id")
    call.enforce(f"identity:{verb}_role" if domain_id is None else f"identity:{verb}_domain_role", **target)
    return await call.rt.db.read(find_role, call.path["role_id"])


def find_role(tx: Tx, role_id: str) -> Role:
    """A role, or 404."""
    row = roles.get(tx, role_id)
    if row is None:
        raise ResourceNotFound(kind="role", id=role_id)
    return row


def _check_mutable(row: Role, new_options: dict[str, Any] | Unset) -> None:
    unmarking = isinstance(new_options, dict) and IMMUTABLE in new_options and not new_options[IMMUTABLE]
    if row.options.get(IMMUTABLE) and not unmarking:
        raise ResourceImmutable(kind="role", id=row.id)


def _check_name_free(tx: Tx, name: str, domain_id: str | None) -> None:
    if roles.get_by_name(tx, name, domain_id) is not None:
        raise NameTaken(kind="role", name=name, where="" if domain_id is None else f" in domain {domain_id}")


ROUTES = (
    Route(method="GET", path="/v3/roles", handler=list_roles, policy=ANY_TOKEN),
    Route(method="POST", path="/v3/roles", handler=create_role, policy=ANY_TOKEN, success=201, body=dict[str, Any],
          envelope="role"),
    Route(method="GET", path="/v3/roles/{role_id}", handler=show_role, policy=ANY_TOKEN),
    Route(method="PATCH", path="/v3/roles/{role_id}", handler=update_role, policy=ANY_TOKEN, body=dict[str, Any],
          envelope="role"),
    Route(method="DELETE", path="/v3/roles/{role_id}", handler=delete_role, policy=ANY_TOKEN, success=204),
)
