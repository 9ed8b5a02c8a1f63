"""Security groups and rules."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network.db import security_groups
from pileus.services.network.db.intents.fabric import Fabric, hosts_of_group
from pileus.services.network.db.metadata import revise, stamped
from pileus.services.network.db.ports import PORT_GROUPS
from pileus.services.network.db.security_groups import GROUPS, Group, Rule
from pileus.services.network.errors import (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupInUse,
    SecurityGroupRuleExists,
)
from pileus.services.network.logic import security_rules
from pileus.services.network.quotas import claim

DEFAULT_NAME = "default"


def ensure_default_group(tx: Tx, project_id: str) -> str:
    """Id of a project's default group, made now if this is its first use."""
    found = security_groups.default_of(tx, project_id)
    if found is not None:
        return found
    row = stamped(
        tx,
        {
            "project_id": project_id, "name": DEFAULT_NAME, "description": "Default security group",
            "stateful": True, "is_default": True,
        },
    )  # fmt: skip
    tx.execute(GROUPS.insert(), row)
    if not security_groups.claim_default(tx, project_id, row["id"]):
        tx.execute(GROUPS.delete().where(GROUPS.c.id == row["id"]))
        winner = security_groups.default_of(tx, project_id)
        assert winner is not None, "somebody else made it"
        return winner
    _add_rules(tx, project_id, row["id"], security_rules.default_rules(row["id"]))
    return row["id"]


def _add_rules(tx: Tx, project_id: str, group_id: str, rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        row = rule | {"project_id": project_id, "security_group_id": group_id, "description": ""}
        security_groups.insert_rule(tx, stamped(tx, row | {"meaning": security_rules.meaning(rule)}))


def create_group(tx: Tx, fabric: Fabric, project_id: str, values: dict[str, Any]) -> Group:
    """Make a group; it lets everything out."""
    ensure_default_group(tx, project_id)
    claim(tx, fabric.limits, project_id, "security_group")
    rules = security_rules.new_group_rules()
    claim(tx, fabric.limits, project_id, "security_group_rule", len(rules))
    row = stamped(tx, {**values, "project_id": project_id, "is_default": False})
    tx.execute(GROUPS.insert(), row)
    _add_rules(tx, project_id, row["id"], rules)
    return _found(tx, row["id"])


def _found(tx: Tx, group_id: str) -> Group:
    group = security_groups.get(tx, group_id)
    assert group is not None, "a group of this transaction"
    return group


def update_group(tx: Tx, group: Group, values: dict[str, Any]) -> Group:
    """Change name, description or statefulness."""
    revise(tx, GROUPS, (group.id,), values)
    return _found(tx, group.id)


def delete_group(tx: Tx, group: Group, *, as_admin: bool) -> None:
    """Remove a group that no port is in; the default one only as an administrator."""
    if group.is_default and not as_admin:
        raise SecurityGroupCannotRemoveDefault()
    if tx.scalar(select(PORT_GROUPS.c.port_id).where(PORT_GROUPS.c.security_group_id == group.id).limit(1)) is not None:
        raise SecurityGroupInUse(id=group.id)
    security_groups.remove(tx, group.id)


def create_rule(tx: Tx, fabric: Fabric, project_id: str, group_id: str, values: dict[str, Any]) -> Rule:
    """Add a rule that passed `logic.security_rules.check`."""
    claim(tx, fabric.limits, project_id, "security_group_rule")
    meaning = security_rules.meaning(values)
    row = stamped(tx, {**values, "project_id": project_id, "security_group_id": group_id, "meaning": meaning})
    if not security_groups.insert_rule(tx, row):
        raise SecurityGroupRuleExists(id=security_groups.rule_with_meaning(tx, group_id, meaning))
    revise(tx, GROUPS, (group_id,))
    fabric.changed(tx, "l2", hosts_of_group(tx, group_id))
    rule = security_groups.get_rule(tx, row["id"])
    assert rule is not None, "a rule of this transaction"
    return rule


def delete_rule(tx: Tx, fabric: Fabric, rule: Rule) -> None:
    """Remove a rule."""
    security_groups.remove_rule(tx, rule.id)
    revise(tx, GROUPS, (rule.security_group_id,))
    fabric.changed(tx, "l2", hosts_of_group(tx, rule.security_group_id))
