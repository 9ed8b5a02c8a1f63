"""/v2/images/{id}/members: with which projects a shared image is shared."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import ANY_TOKEN, Call, Route
from pileus.services.image.api.lookup import allows, enforce, is_admin, visible_image
from pileus.services.image.db import members
from pileus.services.image.db.images import Image
from pileus.services.image.db.members import Member
from pileus.services.image.errors import (
    ImageNotFound,
    LimitExceeded,
    MemberExists,
    MemberNotFound,
    MemberRefused,
    NotShared,
)
from pileus.services.image.logic import views
from pileus.services.image.states import MEMBER_STATUSES, SHARED

MAX_MEMBER_CHARS = 255


async def add_member(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Share the image with a project; it sees it in its listings once it accepted."""
    return views.member_view(await call.rt.db.write(_add, call, _text(call, "member")))


def _add(tx: Tx, call: Call[Any], member_id: str) -> Member:
    image = _image(tx, call)
    enforce(call, "add_member", image)
    if image.visibility != SHARED:
        raise NotShared()
    if members.get(tx, image.id, member_id) is not None:
        raise MemberExists(member_id=member_id, image_id=image.id)
    limit = call.rt.config.max_members
    if 0 <= limit < (wanted := members.count(tx, image.id) + 1):
        raise LimitExceeded(what="members", wanted=wanted, limit=limit)
    return members.insert(tx, image.id, member_id)


async def list_members(call: Call[None]) -> dict[str, Any]:
    """All members for the owner; a member sees only itself."""
    found = await call.rt.db.read(_list, call)
    return {"members": [views.member_view(member) for member in found], "schema": "/v2/schemas/members"}


def _list(tx: Tx, call: Call[Any]) -> list[Member]:
    image = _image(tx, call)
    if image.visibility != SHARED:
        if not _owns(call, image):
            raise ImageNotFound(image_id=image.id)
        raise NotShared()
    seen = members.of_image(tx, image.id)
    if not _owns(call, image):
        seen = [member for member in seen if member.member_id == call.context.project_id]
        if not seen:
            raise ImageNotFound(image_id=image.id)
    enforce(call, "get_members", image, member_id=call.context.project_id)
    return seen


async def show_member(call: Call[None]) -> dict[str, Any]:
    """One member."""
    return views.member_view(await call.rt.db.read(_show, call))


def _show(tx: Tx, call: Call[Any]) -> Member:
    image, member = _member(tx, call)
    if not allows(call, "get_member", image, member_id=member.member_id):
        raise _not_found(call)
    return member


async def update_member(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """The member accepts or rejects the image. Its owner cannot do that for it."""
    status = _text(call, "status")
    if status not in MEMBER_STATUSES:
        raise BadRequest(f"Incorrect request: '{status[:40]}' is not one of {', '.join(MEMBER_STATUSES)}")
    return views.member_view(await call.rt.db.write(_update, call, status))


def _update(tx: Tx, call: Call[Any], status: str) -> Member:
    image, member = _member(tx, call)
    if not is_admin(call) and call.context.project_id != member.member_id:
        raise MemberRefused(reason="You are not permitted to modify 'status' on this image member.")
    enforce(call, "modify_member", image, member_id=member.member_id)
    return members.set_status(tx, member, status)


async def remove_member(call: Call[None]) -> None:
    """Stop sharing with a project."""
    await call.rt.db.write(_remove, call)


def _remove(tx: Tx, call: Call[Any]) -> None:
    image, member = _member(tx, call)
    if not _owns(call, image):
        raise MemberRefused(reason="You cannot delete image member.")
    enforce(call, "delete_member", image)
    members.remove(tx, member)


def _image(tx: Tx, call: Call[Any]) -> Image:
    return visible_image(tx, call)


def _owns(call: Call[Any], image: Image) -> bool:
    return is_admin(call) or (image.owner is not None and image.owner == call.context.project_id)


def _member(tx: Tx, call: Call[Any]) -> tuple[Image, Member]:
    """The image and one of its members. Only the owner may know of members other than itself."""
    image = _image(tx, call)
    member_id = call.path["member_id"]
    if not _owns(call, image) and member_id != call.context.project_id:
        raise _not_found(call)
    member = members.get(tx, image.id, member_id) if image.visibility == SHARED else None
    if member is None:
        raise _not_found(call)
    return image, member


def _not_found(call: Call[Any]) -> MemberNotFound:
    return MemberNotFound(member_id=call.path["member_id"], image_id=call.path["image_id"])


def _text(call: Call[dict[str, Any]], name: str) -> str:
    value = call.body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_MEMBER_CHARS:
        raise BadRequest(f'Expected a {name} in the form: {{"{name}": "..."}}')
    return value


ROUTES = (
    Route(method="POST", path="/v2/images/{image_id}/members", handler=add_member, policy="add_member",
          body=dict[str, Any]),
    Route(method="GET", path="/v2/images/{image_id}/members", handler=list_members, policy="get_members"),
    Route(method="GET", path="/v2/images/{image_id}/members/{member_id}", handler=show_member, policy="get_member"),
    # modify_member speaks of the member, which only the handler knows.
    Route(method="PUT", path="/v2/images/{image_id}/members/{member_id}", handler=update_member, policy=ANY_TOKEN,
          body=dict[str, Any]),
    Route(method="DELETE", path="/v2/images/{image_id}/members/{member_id}", handler=remove_member,
          policy="delete_member", success=204),
)
