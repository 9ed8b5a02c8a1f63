"""/v3/projects/{id}/tags."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Reply, Route
from pileus.services.identity.api.bodies import MAX_TAGS, Tag, Tags
from pileus.services.identity.api.guard import guarded, path_resources
from pileus.services.identity.api.projects import check_mutable, find_project
from pileus.services.identity.db import projects
from pileus.services.identity.errors import InvalidInput, ResourceNotFound


class ReplaceTags(msgspec.Struct, forbid_unknown_fields=True):
    tags: Tags


def _view(call: Call[Any], tags: tuple[str, ...]) -> dict[str, Any]:
    return {"tags": list(tags), "links": {"self": f"{call.base_url}/v3/projects/{call.path['project_id']}/tags"}}


async def list_tags(call: Call[None]) -> dict[str, Any]:
    """A project's tags."""
    return _view(call, (await call.rt.db.read(find_project, call.path["project_id"])).tags)


async def check_tag(call: Call[None]) -> Reply:
    """204 when the project has the tag, 404 when not."""
    if call.path["tag"] not in (await call.rt.db.read(find_project, call.path["project_id"])).tags:
        raise _no_tag(call.path["tag"])
    return Reply(status=204)


async def replace_tags(call: Call[ReplaceTags]) -> dict[str, Any]:
    """Set all tags."""
    tags = tuple(sorted(set(call.body.tags)))
    await call.rt.db.write(_set, call.path["project_id"], tags)
    return _view(call, tags)


async def add_tag(call: Call[None]) -> Reply:
    """Add one tag."""
    try:
        tag = msgspec.convert(call.path["tag"], Tag)
    except msgspec.ValidationError as error:
        raise InvalidInput(reason=f"Invalid input: {error}") from None
    await call.rt.db.write(_add, call.path["project_id"], tag)
    location = f"{call.base_url}/v3/projects/{call.path['project_id']}/tags/{quote(tag, safe='')}"
    return Reply(headers={"Location": location})


async def delete_tag(call: Call[None]) -> None:
    """Remove one tag."""
    await call.rt.db.write(_remove, call.path["project_id"], call.path["tag"])


async def delete_tags(call: Call[None]) -> None:
    """Remove all tags."""
    await call.rt.db.write(_set, call.path["project_id"], ())


def _set(tx: Tx, project_id: str, tags: tuple[str, ...]) -> None:
    check_mutable(find_project(tx, project_id), "project", msgspec.UNSET)
    projects.set_tags(tx, project_id, tags)


def _add(tx: Tx, project_id: str, tag: str) -> None:
    present = find_project(tx, project_id).tags
    if len(present) >= MAX_TAGS and tag not in present:
        raise InvalidInput(reason=f"A project has at most {MAX_TAGS} tags.")
    _set(tx, project_id, (*present, tag))


def _remove(tx: Tx, project_id: str, tag: str) -> None:
    present = find_project(tx, project_id).tags
    if tag not in present:
        raise _no_tag(tag)
    _set(tx, project_id, tuple(name for name in present if name != tag))


def _no_tag(tag: str) -> ResourceNotFound:
    return ResourceNotFound(kind="project tag", id=tag)


_ALL = "/v3/projects/{project_id}/tags"
_ONE = "/v3/projects/{project_id}/tags/{tag}"
ROUTES = (
    Route(method="GET", path=_ALL, policy=ANY_TOKEN,
          handler=guarded("identity:list_project_tags", list_tags, path_resources)),
    Route(method="PUT", path=_ALL, policy=ANY_TOKEN, body=ReplaceTags,
          handler=guarded("identity:update_project_tags", replace_tags, path_resources)),
    Route(method="DELETE", path=_ALL, policy=ANY_TOKEN, success=204,
          handler=guarded("identity:delete_project_tags", delete_tags, path_resources)),
    Route(method="GET", path=_ONE, policy=ANY_TOKEN, success=204,
          handler=guarded("identity:get_project_tag", check_tag, path_resources)),
    Route(method="PUT", path=_ONE, policy=ANY_TOKEN, success=201,
          handler=guarded("identity:create_project_tag", add_tag, path_resources)),
    Route(method="DELETE", path=_ONE, policy=ANY_TOKEN, success=204,
          handler=guarded("identity:delete_project_tag", delete_tag, path_resources)),
)
