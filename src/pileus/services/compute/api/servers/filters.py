"""The query of a list of servers, read into a `ServerFilter`: who may filter by what, and what each word means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.http import Call
from pileus.services.compute import states
from pileus.services.compute.api import queries
from pileus.services.compute.db.server_lists import SORT_COLUMNS, ServerFilter

MAX_PATTERN_CHARS = 255
MAX_REPETITIONS = 2

OPEN_FILTERS = (
    "name", "status", "image", "flavor", "ip", "reservation_id", "changes-since", "changes-before", "metadata",
    "tags", "tags-any", "not-tags", "not-tags-any", "all_tenants", "uuid", "locked",
)
OPEN_SINCE_283 = (
    "availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at", "power_state",
    "task_state", "vm_state", "progress", "user_id",
)
ADMIN_FILTERS = (
    "host", "hostname", "node", "project_id", "tenant_id", "deleted", "soft_deleted", "description", "access_ip_v4",
    "access_ip_v6", "root_device_name", "kernel_id", "ramdisk_id", "launch_index", "display_name",
    "display_description", "image_ref", "auto_disk_config", "cell_name", "created", "instance_type_id",
    "pinned_availability_zone",
)
PAGING = ("limit", "marker", "sort_key", "sort_dir")
ALL_NAMES = frozenset((*OPEN_FILTERS, "ip6", *OPEN_SINCE_283, *ADMIN_FILTERS, *PAGING))

_EQUAL_COLUMNS = {
    "image": "image_id", "image_ref": "image_id", "flavor": "flavor_id", "instance_type_id": "flavor_id",
    "reservation_id": "reservation_id", "host": "host", "node": "node", "hostname": "hostname",
    "availability_zone": "availability_zone", "key_name": "key_name", "task_state": "task_state",
    "vm_state": "vm_state",
    "user_id": "user_id", "description": "description", "display_description": "description",
    "root_device_name": "root_device", "access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6",
    "pinned_availability_zone": "pinned_zone", "auto_disk_config": "disk_config",
}
_SORT_ALIASES = {"tenant_id": "project_id", "uuid": "uuid"}
_TEXT_PART = re.compile(r"^\^?[0-9a-fA-F:.]{0,45}\$?$")


def read(call: Call[Any], *, detail: bool) -> ServerFilter:
    """The filter. Filters that the caller may not use are ignored before 2.75 and refused since."""
    query = _permitted(call)
    everywhere = _all_projects(call, query, detail)
    values: dict[str, Any] = {"equal": _equal(query)}
    values["project_id"] = None if everywhere else call.context.project_id
    if everywhere and (project := query.get("project_id") or query.get("tenant_id")):
        values["project_id"] = project
    if "uuid" in query:
        values["ids"] = (query["uuid"],)
    if pattern := query.get("name") or query.get("display_name"):
        values["name_pattern"] = _pattern(pattern)
    if "status" in call.query:
        values["state_pairs"] = _status(call)
    for name, field in (("ip", "ip_like"), ("ip6", "ip6_like")):
        if name in query:
            values[field] = _address_part(query[name], name)
    if "locked" in query and call.at_least("2.73"):
        values["locked"] = queries.boolean(query["locked"], "locked")
    values |= _times(call, query) | _tags(call, query)
    values["deleted"] = _deleted(call, query, values)
    if "metadata" in query:
        values["metadata"] = _metadata(query["metadata"])
    return ServerFilter(**values)


def sort(call: Call[Any]) -> tuple[tuple[str, str], ...]:
    """Sort keys and directions; keys that do not exist are ignored before 2.75."""
    keys, directions = call.query.getlist("sort_key"), call.query.getlist("sort_dir")
    found = []
    for at, key in enumerate(keys):
        direction = directions[at] if at < len(directions) else directions[-1] if directions else "desc"
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Invalid input for query parameters sort_dir. Value: {direction[:40]}.")
        if _SORT_ALIASES.get(key, key) in SORT_COLUMNS:
            found.append((_SORT_ALIASES.get(key, key), direction))
        elif call.at_least("2.75"):
            raise BadRequest(f"Invalid input for query parameters sort_key. Value: {key[:80]}.")
    return tuple(found) or (("created_at", directions[0] if directions and not keys else "desc"),)


def _permitted(call: Call[Any]) -> dict[str, str]:
    allowed = set(OPEN_FILTERS) | {"ip6"}
    if call.at_least("2.83"):
        allowed |= set(OPEN_SINCE_283)
    if not call.at_least("2.26"):
        allowed -= {"tags", "tags-any", "not-tags", "not-tags-any"}
    if call.allows("os_compute_api:servers:allow_all_filters"):
        allowed |= set(OPEN_SINCE_283) | set(ADMIN_FILTERS)
    if call.at_least("2.75"):
        queries.only(call, *ALL_NAMES)
    return {name: call.query[name] for name in call.query if name in allowed}


def _all_projects(call: Call[Any], query: Mapping[str, str], detail: bool) -> bool:
    asked = query.get("all_tenants")
    wanted = False
    if asked is not None:
        wanted = True if asked == "" else bool(queries.boolean(asked, "all_tenants"))
    rule = "os_compute_api:servers:" + ("detail" if detail else "index") + ":get_all_tenants"
    if wanted:
        call.enforce(rule)
        return True
    # An administrator who names another project means it, with or without all_tenants.
    named = query.get("project_id") or query.get("tenant_id")
    return bool(named and named != call.context.project_id and call.allows(rule))


def _equal(query: Mapping[str, str]) -> dict[str, object]:
    equal: dict[str, object] = {}
    for name, column in _EQUAL_COLUMNS.items():
        if name in query:
            equal[column] = query[name]
    if equal.get("task_state") == "None":
        equal["task_state"] = None
    if "config_drive" in query:
        equal["config_drive"] = queries.lenient_boolean(query["config_drive"])
    for name in ("power_state", "launch_index"):
        if name in query:
            equal[name] = queries.integer(query[name], name)
    return equal


def _pattern(text: str) -> str:
    """A regular expression that cannot be slow, and that the engine will read: else it is matched as it stands."""
    if len(text) > MAX_PATTERN_CHARS:
        raise BadRequest("Invalid input for query parameters name. The pattern is too long.")
    try:
        re.compile(text)
    except re.error:
        raise BadRequest(f"Invalid input for query parameters name. Value: {text[:80]}. It is not a 'regex'") from None
    # Repeated groups and many repetitions make matching slow without bound.
    if re.search(r"\)[*+{?]|[*+}][*+{]", text) or len(re.findall(r"[*+{]", text)) > MAX_REPETITIONS:
        return re.escape(text)
    return text


def _status(call: Call[Any]) -> tuple[tuple[str, str | None], ...]:
    pairs: list[tuple[str, str | None]] = []
    for word in call.query.getlist("status"):
        found = states.states_of(word)
        if not found and call.at_least("2.38"):
            raise BadRequest(f"Invalid status: {word[:40]}")
        if word.upper() == "DELETED" and not call.allows("context_is_admin"):
            raise Forbidden("Only administrators may list deleted instances")
        pairs += found
    return tuple(pairs)


def _address_part(text: str, name: str) -> str:
    if not _TEXT_PART.match(text):
        raise BadRequest(f"Invalid input for query parameters {name}. Value: {text[:80]}.")
    return text.strip("^$").replace(".", r"\.").lower()


def _times(call: Call[Any], query: Mapping[str, str]) -> dict[str, Any]:
    since = queries.time(query.get("changes-since"), "changes-since")
    before = queries.time(query.get("changes-before"), "changes-before") if call.at_least("2.66") else None
    if since and before and since > before:
        raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
    return {"changed_since": since, "changed_before": before}


def _tags(call: Call[Any], query: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    fields = {"tags": "tags_all", "tags-any": "tags_any", "not-tags": "not_tags_all", "not-tags-any": "not_tags_any"}
    return {
        field: tuple(part for part in query[name].split(",") if part) for name, field in fields.items() if name in query
    }


def _deleted(call: Call[Any], query: Mapping[str, str], values: Mapping[str, Any]) -> bool | None:
    """Deleted servers are shown to those who ask what changed, and to administrators who ask for them."""
    if any(vm == states.DELETED for vm, _ in values.get("state_pairs") or ()):
        return True
    if "deleted" in query:
        return bool(queries.boolean(query["deleted"], "deleted"))
    if values.get("changed_since") is not None:
        return None
    return False


def _metadata(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text.replace("'", '"').replace('u"', '"'), type=dict[str, str])
    except (msgspec.MsgspecError, RecursionError):
        raise BadRequest(f"Invalid input for query parameters metadata. Value: {text[:80]}.") from None
