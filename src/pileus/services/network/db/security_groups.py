"""Security groups, their rules, and which group is a project's default."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.sql import ColumnElement

from pileus.kernel.db import Tx
from pileus.services.network.db import tags
from pileus.services.network.db.listing import Filter, ListQuery, select_page
from pileus.services.network.db.metadata import (
    ID_CHARS,
    METADATA,
    NAME_CHARS,
    PROJECT_CHARS,
    Standard,
    insert_unless_taken,
    standard_columns,
)
from pileus.services.network.db.subnets import CIDR_CHARS

KEY_CHARS = 255


class Rule(Standard, frozen=True, kw_only=True):
    """One allow rule. For ICMP `port_range_min` is the type and `port_range_max` the code."""

    security_group_id: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    remote_group_id: str | None


class Group(Standard, frozen=True, kw_only=True):
    """A security group with its rules."""

    name: str
    stateful: bool
    is_default: bool
    rules: tuple[Rule, ...] = ()


GROUPS = Table(
    "security_groups",
    METADATA,
    *standard_columns(),
    Column("name", String(NAME_CHARS), nullable=False),
    Column("stateful", Boolean, nullable=False),
    Column("is_default", Boolean, nullable=False),
)

DEFAULT_GROUPS = Table(
    "default_security_groups",
    METADATA,
    Column("project_id", String(PROJECT_CHARS), primary_key=True),
    Column("security_group_id", String(ID_CHARS), ForeignKey("security_groups.id"), nullable=False),
)
"""The primary key lets one of several first requests of a project make its default group."""

RULES = Table(
    "security_group_rules",
    METADATA,
    *standard_columns(),
    Column("security_group_id", String(ID_CHARS), ForeignKey("security_groups.id"), nullable=False),
    Column("direction", String(8), nullable=False),
    Column("ethertype", String(8), nullable=False),
    Column("protocol", String(40)),
    Column("port_range_min", Integer),
    Column("port_range_max", Integer),
    Column("remote_ip_prefix", String(CIDR_CHARS)),
    Column("remote_group_id", String(ID_CHARS), ForeignKey("security_groups.id"), index=True),
    Column("meaning", String(KEY_CHARS), nullable=False),
    UniqueConstraint("security_group_id", "meaning"),
)
"""`meaning` spells out what the rule allows, so that two rules that say the same cannot both be there."""

FILTERS: dict[str, Filter] = {
    **{
        name: GROUPS.c[name] for name in ("id", "project_id", "name", "description", "stateful", "revision_number")
    },
    "tenant_id": GROUPS.c.project_id,
    **tags.filters(GROUPS),
}
RULE_FILTERS: dict[str, Filter] = {
    **{
        name: RULES.c[name]
        for name in (
            "id", "project_id", "description", "security_group_id", "direction", "ethertype", "protocol",
            "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id", "revision_number",
        )
    },
    "tenant_id": RULES.c.project_id,
}  # fmt: skip


def visible_to(project_id: str | None) -> ColumnElement[bool]:
    return GROUPS.c.project_id == project_id


def rules_visible_to(project_id: str | None) -> ColumnElement[bool]:
    """A project's rules, and everybody's rules in its groups."""
    through = exists().where(GROUPS.c.id == RULES.c.security_group_id, GROUPS.c.project_id == project_id)
    return or_(RULES.c.project_id == project_id, through)


def _rule(row: Any) -> Rule:
    values = dict(row._mapping)
    del values["meaning"]
    return Rule(**values)


def rules_of(tx: Tx, group_ids: Iterable[str]) -> dict[str, list[Rule]]:
    """Rules by group, oldest first."""
    found: defaultdict[str, list[Rule]] = defaultdict(list)
    statement = select(RULES).where(RULES.c.security_group_id.in_(sorted(set(group_ids))))
    for row in tx.all(statement.order_by(RULES.c.created_at, RULES.c.id)):
        found[row.security_group_id].append(_rule(row))
    return found


def _load(tx: Tx, rows: Iterable[Any]) -> list[Group]:
    rows = list(rows)
    ids = [row.id for row in rows]
    rules, words = rules_of(tx, ids), tags.of(tx, ids)
    return [Group(**row._mapping, rules=tuple(rules.get(row.id, ())), tags=words.get(row.id, ())) for row in rows]


def page(tx: Tx, query: ListQuery, *scope: ColumnElement[bool]) -> list[Group]:
    """One page of groups."""
    return _load(tx, select_page(tx, GROUPS, query, FILTERS, *scope))


def page_of_rules(tx: Tx, query: ListQuery, *scope: ColumnElement[bool]) -> list[Rule]:
    """One page of rules."""
    return [_rule(row) for row in select_page(tx, RULES, query, RULE_FILTERS, *scope)]


def get(tx: Tx, group_id: str) -> Group | None:
    """One group, or None."""
    found = _load(tx, tx.all(select(GROUPS).where(GROUPS.c.id == group_id)))
    return found[0] if found else None


def get_rule(tx: Tx, rule_id: str) -> Rule | None:
    """One rule, or None."""
    row = tx.first(select(RULES).where(RULES.c.id == rule_id))
    return None if row is None else _rule(row)


def owners(tx: Tx, group_ids: Iterable[str]) -> dict[str, str]:
    """Project by group id, for the groups that are there."""
    statement = select(GROUPS.c.id, GROUPS.c.project_id).where(GROUPS.c.id.in_(list(group_ids)))
    return {row.id: row.project_id for row in tx.all(statement)}


def default_of(tx: Tx, project_id: str) -> str | None:
    """Id of a project's default group, if it was made already."""
    return tx.scalar(_DEFAULT_OF, {"the_project": project_id})


_DEFAULT_OF = select(DEFAULT_GROUPS.c.security_group_id).where(DEFAULT_GROUPS.c.project_id == bindparam("the_project"))


def claim_default(tx: Tx, project_id: str, group_id: str) -> bool:
    """Make a group the default of its project; False if there is one."""
    return insert_unless_taken(tx, DEFAULT_GROUPS, {"project_id": project_id, "security_group_id": group_id})


def rule_with_meaning(tx: Tx, group_id: str, meaning: str) -> str | None:
    """Id of the rule in a group that means the same."""
    return tx.scalar(select(RULES.c.id).where(RULES.c.security_group_id == group_id, RULES.c.meaning == meaning))


def insert_rule(tx: Tx, values: dict[str, Any]) -> bool:
    """Add a rule; False if the group has one of the same meaning."""
    return insert_unless_taken(tx, RULES, values)


def remove_rule(tx: Tx, rule_id: str) -> None:
    tx.execute(delete(RULES).where(RULES.c.id == rule_id))


def remove(tx: Tx, group_id: str) -> None:
    """Delete a group with its rules, and rules elsewhere that name it."""
    tx.execute(delete(RULES).where(or_(RULES.c.security_group_id == group_id, RULES.c.remote_group_id == group_id)))
    tx.execute(delete(DEFAULT_GROUPS).where(DEFAULT_GROUPS.c.security_group_id == group_id))
    tx.execute(delete(GROUPS).where(GROUPS.c.id == group_id))
    tags.forget(tx, (group_id,))


def count_of_project(tx: Tx, project_id: str) -> int:
    return tx.scalar(select(func.count()).select_from(GROUPS).where(GROUPS.c.project_id == project_id))


def count_rules_of_project(tx: Tx, project_id: str) -> int:
    return tx.scalar(select(func.count()).select_from(RULES).where(RULES.c.project_id == project_id))
