"""Resources as tables of attributes: what may be sent, what it must be, who may send and see it.

The network API tells clients precisely what is wrong with an attribute, and guards single attributes by policy; hence
its bodies are checked by these tables and not by structs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.kernel.errors import Forbidden
from pileus.kernel.http.call import Call
from pileus.services.network.api.checks import Check, shown
from pileus.services.network.errors import HTTPBadRequest, NetworkError, RevisionNumberConstraintFailed

REQUIRED: Any = object()
"""Default of an attribute that a create request must give."""
UNSET = msgspec.UNSET
"""Default of an attribute that is left out of the values when a create request does not give it."""
MAX_BULK = 1_000


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """One attribute. check None: read-only. post, put: whether it may be sent then."""

    name: str
    check: Check | None = None
    post: bool = True
    put: bool = True
    default: Any = UNSET


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of resource. singular, plural: the keys of bodies; policy rules are named by the singular."""

    singular: str
    plural: str
    not_found: type[NetworkError]
    attributes: Mapping[str, Attribute]



def resource(singular: str, plural: str, not_found: type[NetworkError], *attributes: Attribute) -> Resource:
    """A resource with the attributes that all have."""
    common = (
        *read_only("id", "created_at", "updated_at", "revision_number", "tags"),
        Attribute(name="tenant_id", post=True, put=False, check=_project_id),
        Attribute(name="project_id", post=True, put=False, check=_project_id),
    )
    table = {attribute.name: attribute for attribute in (*common, *attributes)}
    return Resource(singular=singular, plural=plural, not_found=not_found, attributes=table)


def read_only(*names: str) -> tuple[Attribute, ...]:
    """Attributes that are only shown."""
    return tuple(Attribute(name=name, post=False, put=False) for name in names)


def _project_id(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 64:
        raise ValueError(f"'{shown(value)}' is not the id of a project")
    return value


# --- reading bodies ---------------------------------------------------------------------------------------------


def json_object(call: Call[Any]) -> dict[str, Any]:
    """The body, which must be a JSON object."""
    try:
        body = msgspec.json.decode(call.raw) if call.raw else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise HTTPBadRequest(reason="Cannot understand JSON") from None
    if not isinstance(body, dict) or not body:
        raise HTTPBadRequest(reason="Resource body required")
    return body


def create_bodies(call: Call[Any], kind: Resource) -> tuple[list[dict[str, Any]], bool]:
    """The checked values of a create request, and whether it was for several at once. Policy is enforced later, when
    the target is known."""
    body = json_object(call)
    if kind.plural in body:
        items = body[kind.plural]
        if not isinstance(items, list) or not items:
            raise HTTPBadRequest(reason="Resource body required")
        if len(items) > MAX_BULK:
            raise HTTPBadRequest(reason=f"At most {MAX_BULK} {kind.plural} can be created at once")
        # Inside a bulk, each item may be bare or wrapped in its singular.
        inner = [item.get(kind.singular, item) if isinstance(item, dict) else item for item in items]
        return [_create_values(call, kind, item) for item in inner], True
    return [_create_values(call, kind, _unwrap(body, kind))], False


def update_body(call: Call[Any], kind: Resource) -> dict[str, Any]:
    """The checked values of an update request."""
    given = _unwrap(json_object(call), kind)
    _refuse_unknown(given, kind)
    for name in given:
        if not kind.attributes[name].put:
            raise HTTPBadRequest(reason=f"Cannot update read-only attribute {name}")
    return {name: _checked(kind.attributes[name], value) for name, value in given.items()}


def _unwrap(body: dict[str, Any], kind: Resource) -> dict[str, Any]:
    inner = body.get(kind.singular)
    if not isinstance(inner, dict):
        raise HTTPBadRequest(reason=f"Unable to find '{kind.singular}' in request body")
    return inner


def _create_values(call: Call[Any], kind: Resource, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise HTTPBadRequest(reason=f"Unable to find '{kind.singular}' in request body")
    _refuse_unknown(given, kind)
    values: dict[str, Any] = {"project_id": _project_of(call, given)}
    for name, attribute in kind.attributes.items():
        if name in ("project_id", "tenant_id"):
            continue
        if name in given:
            if not attribute.post:
                raise HTTPBadRequest(reason=f"Attribute '{name}' not allowed in POST")
            values[name] = _checked(attribute, given[name])
        elif attribute.default is REQUIRED:
            raise HTTPBadRequest(reason=f"Failed to parse request. Required attribute '{name}' not specified")
        elif attribute.default is not UNSET:
            values[name] = attribute.default
    return values


def _project_of(call: Call[Any], given: dict[str, Any]) -> str:
    """Whose the new resource is: the caller's, or as an administrator says."""
    asked = {given[name] for name in ("project_id", "tenant_id") if isinstance(given.get(name), str) and given[name]}
    if len(asked) > 1:
        raise HTTPBadRequest(reason="'project_id' and 'tenant_id' do not match")
    project_id = asked.pop() if asked else call.context.project_id
    if project_id is None:
        raise HTTPBadRequest(reason="A project is required: use a token that is scoped to one")
    if len(project_id) > 64:
        raise HTTPBadRequest(reason="Invalid input for project_id. Reason: it is too long.")
    if project_id != call.context.project_id and not sees_all(call):
        raise HTTPBadRequest(
            reason="Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires "
            "admin privileges"
        )
    return project_id


def _refuse_unknown(given: dict[str, Any], kind: Resource) -> None:
    unknown = sorted(set(given) - set(kind.attributes))
    if unknown:
        raise HTTPBadRequest(reason=f"Unrecognized attribute(s) '{', '.join(shown(name) for name in unknown)}'")


def _checked(attribute: Attribute, value: Any) -> Any:
    assert attribute.check is not None
    try:
        return attribute.check(value)
    except ValueError as error:
        raise HTTPBadRequest(reason=f"Invalid input for {attribute.name}. Reason: {error}.") from None


# --- policy -----------------------------------------------------------------------------------------------------


def sees_all(call: Call[Any]) -> bool:
    """Whether the caller sees every project's resources."""
    return call.allows("context_is_admin") or call.allows("context_is_advsvc")


def target_of(project_id: str | None, **more: Any) -> dict[str, Any]:
    """A policy target that belongs to a project."""
    return {"project_id": project_id, "tenant_id": project_id, **more}


def enforce_create(call: Call[Any], kind: Resource, values: dict[str, Any], target: dict[str, Any]) -> None:
    """May the caller create this, with these attributes (those that differ from the default)?"""
    call.enforce(f"create_{kind.singular}", **target)
    for name, value in values.items():
        attribute = kind.attributes.get(name)
        if attribute is not None and (attribute.default is UNSET or value != attribute.default):
            _enforce_attribute(call, f"create_{kind.singular}:{name}", value, target)


def enforce_update(
    call: Call[Any], kind: Resource, values: dict[str, Any], target: dict[str, Any], resource_id: str
) -> None:
    """May the caller change these attributes? Whoever may not even see the resource is told that it is not there."""
    enforce(call, kind, "update", target, resource_id)
    for name, value in values.items():
        _enforce_attribute(call, f"update_{kind.singular}:{name}", value, target)


def enforce(call: Call[Any], kind: Resource, verb: str, target: dict[str, Any], resource_id: str) -> None:
    """403 for what the caller may see but not do, 404 for what they may not see."""
    if not call.allows(f"get_{kind.singular}", **target):
        raise kind.not_found(id=resource_id)
    if verb != "get":
        call.enforce(f"{verb}_{kind.singular}", **target)


def _enforce_attribute(call: Call[Any], rule: str, value: Any, target: dict[str, Any]) -> None:
    known = call.rt.policy.knows
    if known(rule) and not call.allows(rule, **target):
        raise Forbidden(rule=rule)
    keys: set[str] = set()
    for part in value if isinstance(value, list) else [value]:
        keys |= set(part) if isinstance(part, dict) else set()
    for key in sorted(keys):
        inner = f"{rule}:{key}"
        if known(inner) and not call.allows(inner, **target):
            raise Forbidden(rule=inner)


# --- If-Match ---------------------------------------------------------------------------------------------------


def check_revision(call: Call[Any], current: int) -> None:
    """Honour `If-Match: revision_number=N`. 412 unless it is the current one."""
    wanted = call.request.headers.get("if-match")
    if wanted is None:
        return
    key, _, number = wanted.strip().strip('"').partition("=")
    if key != "revision_number" or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise HTTPBadRequest(reason=f"Bad format for constraint value: {shown(wanted)}")
    if int(number) != current:
        raise RevisionNumberConstraintFailed(expected=number, current=current)
