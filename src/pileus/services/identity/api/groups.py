"""/v3/groups: list, create, show, update, delete; members."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Reply, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.auth.session import write_and_revoke
from pileus.services.identity.api.bodies import Description, Fields, Id, Unset, given, merged, split
from pileus.services.identity.api.guard import body_domain, default_domain, guarded, own_domain, path_resources
from pileus.services.identity.api.listing import collection, filters, window
from pileus.services.identity.api.users import find_user
from pileus.services.identity.db import groups, projects, removal, users
from pileus.services.identity.db.filters import Filter
from pileus.services.identity.db.groups import Group
from pileus.services.identity.errors import InvalidInput, NameTaken, ResourceNotFound

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class CreateGroup(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    domain_id: Id | None = None
    description: Description | None = None


class UpdateGroup(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | Unset = msgspec.UNSET
    domain_id: Id | Unset = msgspec.UNSET
    description: Description | Unset | None = msgspec.UNSET


async def list_groups(call: Call[None]) -> dict[str, Any]:
    """All groups; a domain-scoped caller sees their domain's."""
    wanted, asked = filters(call, {"domain_id": str, "name": str}), window(call)
    if call.context.domain_id is not None:
        wanted += (Filter("domain_id", call.context.domain_id),)
    found = await call.rt.db.read(groups.listing, wanted, asked)
    return collection(call, "groups", [views.group(call, row) for row in found], asked)


async def create_group(call: Call[Fields]) -> Reply:
    """A new group."""
    wanted, extra = split(call.body, CreateGroup)
    row = Group(
        id=call.rt.clock.new_hex_id(), domain_id=wanted.domain_id or default_domain(call), name=wanted.name,
        description=wanted.description or "", extra=extra,
    )
    await call.rt.db.write(_insert, row)
    return Reply({"group": views.group(call, row)})


def _insert(tx: Tx, row: Group) -> None:
    if projects.get_domain(tx, row.domain_id) is None:
        raise ResourceNotFound(kind="domain", id=row.domain_id)
    _check_name_free(tx, row.name, row.domain_id)
    groups.insert(tx, row)


async def show_group(call: Call[None]) -> dict[str, Any]:
    """One group."""
    return {"group": views.group(call, await call.rt.db.read(find_group, call.path["group_id"]))}


async def update_group(call: Call[Fields]) -> dict[str, Any]:
    """Change a group; its domain stays."""
    wanted, extra = split(call.body, UpdateGroup)
    row = await call.rt.db.write(_update, call.path["group_id"], wanted, extra)
    return {"group": views.group(call, row)}


def _update(tx: Tx, group_id: str, wanted: UpdateGroup, extra: Fields) -> Group:
    row = find_group(tx, group_id)
    if not isinstance(wanted.domain_id, msgspec.UnsetType) and wanted.domain_id != row.domain_id:
        raise InvalidInput(reason="Update of `domain_id` is not allowed.")
    if isinstance(wanted.name, str) and wanted.name != row.name:
        _check_name_free(tx, wanted.name, row.domain_id)
    changes = given(wanted, "name") | {"extra": merged(row.extra, extra)}
    if wanted.description is not msgspec.UNSET:
        changes["description"] = wanted.description or ""
    groups.update(tx, group_id, changes)
    return find_group(tx, group_id)


async def delete_group(call: Call[None]) -> None:
    """Delete a group; its members lose what they had through it."""
    await write_and_revoke(call.rt, _delete, call.path["group_id"])


def _delete(tx: Tx, group_id: str) -> None:
    find_group(tx, group_id)
    removal.remove_groups(tx, [group_id])


async def list_members(call: Call[None]) -> dict[str, Any]:
    """The users in a group."""
    wanted = filters(call, {"domain_id": str, "enabled": bool, "name": str})
    found = await call.rt.db.read(_members, call.path["group_id"], wanted)
    return collection(call, "users", [views.user(call, row) for row in found])


def _members(tx: Tx, group_id: str, wanted: tuple[Filter, ...]) -> list[users.User]:
    find_group(tx, group_id)
    return users.by_ids(tx, groups.members(tx, group_id), wanted)


async def check_member(call: Call[None]) -> Reply:
    """204 when the user is in the group, 404 when not."""
    if not await call.rt.db.read(_is_member, call.path["group_id"], call.path["user_id"]):
        raise _not_in_group(call.path["group_id"], call.path["user_id"])
    return Reply(status=204)


async def add_member(call: Call[None]) -> None:
    """Put a user into a group; once more changes nothing."""
    await write_and_revoke(call.rt, _add, call.path["group_id"], call.path["user_id"])


async def remove_member(call: Call[None]) -> None:
    """Take a user out of a group."""
    await write_and_revoke(call.rt, _remove, call.path["group_id"], call.path["user_id"])


def _is_member(tx: Tx, group_id: str, user_id: str) -> bool:
    find_group(tx, group_id)
    find_user(tx, user_id)
    return groups.is_member(tx, group_id, user_id)


def _add(tx: Tx, group_id: str, user_id: str) -> None:
    find_group(tx, group_id)
    find_user(tx, user_id)
    groups.add_member(tx, group_id, user_id)


def _remove(tx: Tx, group_id: str, user_id: str) -> None:
    find_group(tx, group_id)
    find_user(tx, user_id)
    if not groups.remove_member(tx, group_id, user_id):
        raise _not_in_group(group_id, user_id)


def find_group(tx: Tx, group_id: str) -> Group:
    """A group, or 404."""
    row = groups.get(tx, group_id)
    if row is None:
        raise ResourceNotFound(kind="group", id=group_id)
    return row


def _not_in_group(group_id: str, user_id: str) -> ResourceNotFound:
    return ResourceNotFound(kind="user", id=f"{user_id} in group {group_id}")


def _check_name_free(tx: Tx, name: str, domain_id: str) -> None:
    if groups.get_by_name(tx, name, domain_id) is not None:
        raise NameTaken(kind="group", name=name, where=f" in domain {domain_id}")


_MEMBER = "/v3/groups/{group_id}/users/{user_id}"
ROUTES = (
    Route(method="GET", path="/v3/groups", handler=guarded("identity:list_groups", list_groups, own_domain),
          policy=ANY_TOKEN),
    Route(method="POST", path="/v3/groups", policy=ANY_TOKEN, success=201, body=dict[str, Any], envelope="group",
          handler=guarded("identity:create_group", create_group, body_domain("group"))),
    Route(method="GET", path="/v3/groups/{group_id}", policy=ANY_TOKEN,
          handler=guarded("identity:get_group", show_group, path_resources)),
    Route(method="PATCH", path="/v3/groups/{group_id}", policy=ANY_TOKEN, body=dict[str, Any], envelope="group",
          handler=guarded("identity:update_group", update_group, path_resources)),
    Route(method="DELETE", path="/v3/groups/{group_id}", policy=ANY_TOKEN, success=204,
          handler=guarded("identity:delete_group", delete_group, path_resources)),
    Route(method="GET", path="/v3/groups/{group_id}/users", policy=ANY_TOKEN,
          handler=guarded("identity:list_users_in_group", list_members, path_resources)),
    Route(method="GET", path=_MEMBER, policy=ANY_TOKEN, success=204,
          handler=guarded("identity:check_user_in_group", check_member, path_resources)),
    Route(method="PUT", path=_MEMBER, policy=ANY_TOKEN, success=204,
          handler=guarded("identity:add_user_to_group", add_member, path_resources)),
    Route(method="DELETE", path=_MEMBER, policy=ANY_TOKEN, success=204,
          handler=guarded("identity:remove_user_from_group", remove_member, path_resources)),
)
