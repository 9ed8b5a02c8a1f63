"""Resource classes: kinds of resources."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.placement.api import links
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.db import inventories
from pileus.services.placement.db import resource_classes as classes
from pileus.services.placement.errors import ClassExists, ClassInUse, ClassNotFound, InvalidInput
from pileus.services.placement.logic.standard_names import STANDARD_CLASSES, is_custom

CustomName = Annotated[str, msgspec.Meta(pattern=r"^CUSTOM_[A-Z0-9_]+\Z", max_length=255)]


class ClassBody(msgspec.Struct, forbid_unknown_fields=True):
    """A custom class."""

    name: CustomName


def _view(call: Call[Any], name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": links.href(call, f"/resource_classes/{name}")}]}


def _check_name(name: str) -> None:
    if not is_custom(name):
        raise InvalidInput(f"The resource class '{name[:255]}' does not begin with 'CUSTOM_' or has letters other than "
                           "A-Z, 0-9 and _.")


async def list_classes(call: Call[Any]) -> Reply:
    """All classes."""
    found = await call.rt.db.read(classes.names)
    return fresh(call, {"resource_classes": [_view(call, name) for name in found]})


async def show_class(call: Call[Any]) -> Reply:
    """One class."""
    name = call.path["name"]
    if not await call.rt.db.read(classes.exists, name):
        raise ClassNotFound(name=name)
    return fresh(call, _view(call, name))


async def create_class(call: Call[ClassBody]) -> Reply:
    """A new custom class."""
    if not await call.rt.db.write(_ensure, call.body.name):
        raise ClassExists(name=call.body.name)
    return Reply(status=201, headers=links.location(call, f"/resource_classes/{call.body.name}"))


def _ensure(tx: Tx, name: str) -> bool:
    """Whether it was made."""
    if classes.exists(tx, name):
        return False
    classes.insert(tx, name)
    return True


async def ensure_class(call: Call[Any]) -> Reply:
    """A custom class of that name, made if it is not there."""
    name = call.path["name"]
    _check_name(name)
    made = await call.rt.db.write(_ensure, name)
    return Reply(status=201 if made else 204, headers=links.location(call, f"/resource_classes/{name}"))


def _rename(tx: Tx, old: str, new: str) -> None:
    if not classes.exists(tx, old):
        raise ClassNotFound(name=old)
    if old in STANDARD_CLASSES:
        raise InvalidInput(f"Cannot update standard resource class {old}")
    if old != new and classes.exists(tx, new):
        raise ClassExists(name=new)
    classes.rename(tx, old, new)


async def rename_class(call: Call[ClassBody]) -> dict[str, Any]:
    """Another name for a custom class (until 1.6)."""
    await call.rt.db.write(_rename, call.path["name"], call.body.name)
    return _view(call, call.body.name)


def _delete(tx: Tx, name: str) -> None:
    if not classes.exists(tx, name):
        raise ClassNotFound(name=name)
    if name in STANDARD_CLASSES:
        raise InvalidInput(f"Error in delete resource class: Cannot delete standard resource class {name}.")
    if inventories.class_used(tx, name):
        raise ClassInUse(name=name)
    classes.remove(tx, name)


async def delete_class(call: Call[Any]) -> None:
    """A custom class of which no provider has anything."""
    await call.rt.db.write(_delete, call.path["name"])


_ALL, _ONE = "/resource_classes", "/resource_classes/{name}"
_RULE = "placement:resource_classes:"
ROUTES = (
    Route(method="GET", path=_ALL, handler=list_classes, policy=_RULE + "list", since="1.2"),
    Route(
        method="POST", path=_ALL, handler=create_class, policy=_RULE + "create", body=ClassBody, success=201,
        since="1.2",
    ),
    Route(method="GET", path=_ONE, handler=show_class, policy=_RULE + "show", since="1.2"),
    Route(
        method="PUT", path=_ONE, handler=rename_class, policy=_RULE + "update", body=ClassBody, since="1.2", until="1.6"
    ),
    Route(method="PUT", path=_ONE, handler=ensure_class, policy=_RULE + "update", success=204, since="1.7"),
    Route(method="DELETE", path=_ONE, handler=delete_class, policy=_RULE + "delete", success=204, since="1.2"),
)
