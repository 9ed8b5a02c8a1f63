"""Security groups and their rules."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import ANY_TOKEN, Route
from pileus.services.network.api import checks
from pileus.services.network.api.attributes import (
    REQUIRED,
    Attribute,
    check_revision,
    create_bodies,
    enforce,
    enforce_create,
    enforce_update,
    read_only,
    resource,
    sees_all,
    target_of,
    update_body,
)
from pileus.services.network.api.listing import Shower, answer, parse, standard
from pileus.services.network.db import security_groups
from pileus.services.network.db.intents import security_groups as intents
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import UnknownMarker
from pileus.services.network.db.security_groups import Group, Rule
from pileus.services.network.errors import (
    SecurityGroupCannotUpdateDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupNotFound,
    SecurityGroupRuleNotFound,
)
from pileus.services.network.logic import security_rules

RULE_KEYS = ("ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id")


def _stateful(value: Any) -> bool:
    if not checks.boolean(value):
        raise ValueError("stateless groups are not offered")
    return True


def _number(value: Any) -> int | None:
    return None if value is None else checks.integer(-(1 << 31), (1 << 31) - 1)(value)


def _protocol(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"'{checks.shown(value)}' is not a protocol")
    return str(value)


def _ethertype(value: Any) -> str:
    for known in ("IPv4", "IPv6"):
        if isinstance(value, str) and value.lower() == known.lower():
            return known
    raise ValueError(f"'{checks.shown(value)}' is not in ['IPv4', 'IPv6']")


GROUP = resource(
    "security_group", "security_groups", SecurityGroupNotFound,
    Attribute(name="name", check=checks.text(), default=""),
    Attribute(name="description", check=checks.text(), default=""),
    Attribute(name="stateful", check=_stateful, default=True),
    *read_only("security_group_rules", "shared"),
)  # fmt: skip
RULE = resource(
    "security_group_rule", "security_group_rules", SecurityGroupRuleNotFound,
    Attribute(name="security_group_id", check=checks.identifier, put=False, default=REQUIRED),
    Attribute(name="direction", check=checks.one_of("ingress", "egress"), put=False, default=REQUIRED),
    Attribute(name="ethertype", check=_ethertype, put=False, default="IPv4"),
    Attribute(name="protocol", check=_protocol, put=False, default=None),
    Attribute(name="port_range_min", check=_number, put=False, default=None),
    Attribute(name="port_range_max", check=_number, put=False, default=None),
    Attribute(name="remote_ip_prefix", check=checks.optional(checks.cidr), put=False, default=None),
    Attribute(name="remote_group_id", check=checks.optional(checks.identifier), put=False, default=None),
    Attribute(name="description", check=checks.text(), default=""),
    *read_only("normalized_cidr"),
)  # fmt: skip

SORTABLE = ("id", "name", "project_id", "created_at", "updated_at")
RULE_SORTABLE = (
    "id", "project_id", "security_group_id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max",
    "remote_ip_prefix", "created_at",
)  # fmt: skip


def view_rule(rule: Rule) -> dict[str, Any]:
    """A rule as clients see it."""
    body = standard(rule) | {
        "security_group_id": rule.security_group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": rule.remote_ip_prefix,
        "normalized_cidr": rule.remote_ip_prefix,
        "remote_group_id": rule.remote_group_id,
    }
    del body["tags"]
    return body


def view(group: Group) -> dict[str, Any]:
    """A group as clients see it."""
    return standard(group) | {
        "name": group.name,
        "stateful": group.stateful,
        "shared": False,
        "security_group_rules": [view_rule(rule) for rule in group.rules],
    }


def find(tx: Tx, call: Call[Any], group_id: str, verb: str = "get") -> Group:
    """A group that the caller may treat so."""
    group = security_groups.get(tx, group_id)
    if group is None:
        raise SecurityGroupNotFound(id=group_id)
    enforce(call, GROUP, verb, target_of(group.project_id), group_id)
    return group


async def _ensure_default(call: Call[Any]) -> None:
    """A project that asks for its groups for the first time finds its default group."""
    project_id = call.context.project_id
    if project_id and not await call.rt.db.read(security_groups.default_of, project_id):
        await call.rt.db.write(intents.ensure_default_group, project_id)


async def list_groups(call: Call[None]) -> dict[str, Any]:
    await _ensure_default(call)
    query = parse(call, security_groups.FILTERS, SORTABLE)
    scope = () if sees_all(call) else (security_groups.visible_to(call.context.project_id),)
    try:
        found = await call.rt.db.read(security_groups.page, query, *scope)
    except UnknownMarker:
        raise SecurityGroupNotFound(id=query.marker) from None
    items = Shower(call, GROUP).show_all(found, view, lambda group: target_of(group.project_id))
    return answer(call, GROUP, query, items)


async def show_group(call: Call[None]) -> dict[str, Any]:
    group = await call.rt.db.read(find, call, call.path["security_group_id"])
    return {"security_group": Shower(call, GROUP).show(view(group), target_of(group.project_id))}


async def create_groups(call: Call[None]) -> dict[str, Any]:
    bodies, several = create_bodies(call, GROUP)
    for values in bodies:
        enforce_create(call, GROUP, values, target_of(values["project_id"]))
        if values["name"].lower() == intents.DEFAULT_NAME:
            raise SecurityGroupDefaultAlreadyExists()

    def create(tx: Tx) -> list[dict[str, Any]]:
        fabric = call.rt.get(Fabric)
        made = []
        for values in bodies:
            row = {key: value for key, value in values.items() if key != "project_id"}
            made.append(view(intents.create_group(tx, fabric, values["project_id"], row)))
        return made

    shown = await call.rt.db.write(create)
    return {"security_groups": shown} if several else {"security_group": shown[0]}


async def update_group(call: Call[None]) -> dict[str, Any]:
    values = update_body(call, GROUP)

    def update(tx: Tx) -> Group:
        group = find(tx, call, call.path["security_group_id"])
        enforce_update(call, GROUP, values, target_of(group.project_id), group.id)
        check_revision(call, group.revision_number)
        if group.is_default and values.get("name", group.name) != group.name:
            raise SecurityGroupCannotUpdateDefault()
        if not group.is_default and values.get("name", "").lower() == intents.DEFAULT_NAME:
            raise SecurityGroupDefaultAlreadyExists()
        return intents.update_group(tx, group, values)

    group = await call.rt.db.write(update)
    return {"security_group": Shower(call, GROUP).show(view(group), target_of(group.project_id))}


async def delete_group(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        group = find(tx, call, call.path["security_group_id"], "delete")
        check_revision(call, group.revision_number)
        intents.delete_group(tx, group, as_admin=call.allows("context_is_admin"))

    await call.rt.db.write(remove)


# --- rules ------------------------------------------------------------------------------------------------------


def _rule_target(rule: Rule, owners: dict[str, str]) -> dict[str, Any]:
    owner = owners.get(rule.security_group_id, "")
    return target_of(rule.project_id, **_owned(owner))


def _owned(owner: str) -> dict[str, Any]:
    return {"security_group:project_id": owner, "ext_parent:tenant_id": owner, "ext_parent:project_id": owner}


def find_rule(tx: Tx, call: Call[Any], rule_id: str, verb: str = "get") -> tuple[Rule, dict[str, Any]]:
    """A rule that the caller may treat so, and its policy target."""
    rule = security_groups.get_rule(tx, rule_id)
    if rule is None:
        raise SecurityGroupRuleNotFound(id=rule_id)
    seen = _rule_target(rule, security_groups.owners(tx, (rule.security_group_id,)))
    enforce(call, RULE, verb, seen, rule_id)
    return rule, seen


async def list_rules(call: Call[None]) -> dict[str, Any]:
    await _ensure_default(call)
    query = parse(call, security_groups.RULE_FILTERS, RULE_SORTABLE)
    scope = () if sees_all(call) else (security_groups.rules_visible_to(call.context.project_id),)

    def load(tx: Tx) -> tuple[list[Rule], dict[str, str]]:
        found = security_groups.page_of_rules(tx, query, *scope)
        return found, security_groups.owners(tx, {rule.security_group_id for rule in found})

    try:
        found, owners = await call.rt.db.read(load)
    except UnknownMarker:
        raise SecurityGroupRuleNotFound(id=query.marker) from None
    items = Shower(call, RULE).show_all(found, view_rule, lambda rule: _rule_target(rule, owners))
    return answer(call, RULE, query, items)


async def show_rule(call: Call[None]) -> dict[str, Any]:
    rule, seen = await call.rt.db.read(find_rule, call, call.path["security_group_rule_id"])
    return {"security_group_rule": Shower(call, RULE).show(view_rule(rule), seen)}


async def create_rules(call: Call[None]) -> dict[str, Any]:
    bodies, several = create_bodies(call, RULE)
    checked = [security_rules.check(values) for values in bodies]

    def create(tx: Tx) -> list[dict[str, Any]]:
        return [view_rule(_create_rule(tx, call, values)) for values in checked]

    shown = await call.rt.db.write(create)
    return {"security_group_rules": shown} if several else {"security_group_rule": shown[0]}


def _create_rule(tx: Tx, call: Call[Any], values: dict[str, Any]) -> Rule:
    group = find(tx, call, values["security_group_id"])
    project_id = values["project_id"]
    enforce_create(call, RULE, values, target_of(project_id, **_owned(group.project_id)))
    if not sees_all(call) and group.project_id != project_id:
        raise SecurityGroupNotFound(id=group.id)
    if values["remote_group_id"] is not None:
        find(tx, call, values["remote_group_id"])
    row = {key: value for key, value in values.items() if key not in ("project_id", "security_group_id")}
    return intents.create_rule(tx, call.rt.get(Fabric), project_id, group.id, row)


async def delete_rule(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        rule, _ = find_rule(tx, call, call.path["security_group_rule_id"], "delete")
        intents.delete_rule(tx, call.rt.get(Fabric), rule)

    await call.rt.db.write(remove)


ALL, ONE = "/v2.0/security-groups", "/v2.0/security-groups/{security_group_id}"
ALL_RULES, ONE_RULE = "/v2.0/security-group-rules", "/v2.0/security-group-rules/{security_group_rule_id}"
# Rules belong to whoever owns their group, known only from the database: handlers enforce what ANY_TOKEN leaves open.
ROUTES = (
    Route(method="GET", path=ALL, handler=list_groups, policy="get_security_group"),
    Route(method="POST", path=ALL, handler=create_groups, policy="create_security_group", success=201),
    Route(method="GET", path=ONE, handler=show_group, policy="get_security_group"),
    Route(method="PUT", path=ONE, handler=update_group, policy="update_security_group"),
    Route(method="DELETE", path=ONE, handler=delete_group, policy="delete_security_group", success=204),
    Route(method="GET", path=ALL_RULES, handler=list_rules, policy="get_security_group_rule"),
    Route(method="POST", path=ALL_RULES, handler=create_rules, policy=ANY_TOKEN, success=201),
    Route(method="GET", path=ONE_RULE, handler=show_rule, policy="get_security_group_rule"),
    Route(method="DELETE", path=ONE_RULE, handler=delete_rule, policy=ANY_TOKEN, success=204),
)
