"""Lists of servers: filters, order and pages, in one statement."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Select, String, and_, cast, func, not_, or_, select

from pileus.kernel.db import Tx
from pileus.services.compute import states
from pileus.services.compute.db import faults, tags
from pileus.services.compute.db.servers import SERVERS, Server, from_row

LIKE_ESCAPE = "\\"

SORT_COLUMNS: Mapping[str, ColumnElement] = {
    "created_at": SERVERS.c.created_at, "updated_at": SERVERS.c.updated_at, "display_name": SERVERS.c.name,
    "display_description": SERVERS.c.description, "uuid": SERVERS.c.id, "project_id": SERVERS.c.project_id,
    "user_id": SERVERS.c.user_id, "vm_state": SERVERS.c.vm_state, "task_state": SERVERS.c.task_state,
    "power_state": SERVERS.c.power_state, "host": SERVERS.c.host, "node": SERVERS.c.node,
    "image_ref": SERVERS.c.image_id, "instance_type_id": SERVERS.c.flavor_id, "key_name": SERVERS.c.key_name,
    "launched_at": SERVERS.c.launched_at, "terminated_at": SERVERS.c.terminated_at,
    "availability_zone": SERVERS.c.availability_zone, "hostname": SERVERS.c.hostname,
    "launch_index": SERVERS.c.launch_index, "locked": SERVERS.c.locked_by, "config_drive": SERVERS.c.config_drive,
    "root_device_name": SERVERS.c.root_device, "access_ip_v4": SERVERS.c.access_ip_v4,
    "access_ip_v6": SERVERS.c.access_ip_v6, "progress": SERVERS.c.launch_index,
    "auto_disk_config": SERVERS.c.disk_config,
}
"""What clients call the columns they may sort by."""


class ServerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is narrowed to; None: not narrowed. Texts with `_like` are parts, matched anywhere."""

    project_id: str | None = None
    ids: tuple[str, ...] | None = None
    name_pattern: str | None = None
    state_pairs: tuple[tuple[str, str | None], ...] | None = None
    equal: Mapping[str, object] = {}
    ip_like: str | None = None
    ip6_like: str | None = None
    locked: bool | None = None
    deleted: bool | None = False
    changed_since: datetime | None = None
    changed_before: datetime | None = None
    metadata: Mapping[str, str] = {}
    tags_all: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    not_tags_all: tuple[str, ...] = ()
    not_tags_any: tuple[str, ...] = ()


class ServerPage(msgspec.Struct, frozen=True):
    """One page of servers with what their views need. `more`: the page is full, there may be a next one."""

    servers: list[Server]
    tags: dict[str, list[str]]
    faults: dict[str, faults.Fault]
    more: bool


class BriefServer(msgspec.Struct, frozen=True):
    """What the short list shows of a server."""

    id: str
    name: str


Sort = tuple[tuple[str, str], ...]


def page(
    tx: Tx, wanted: ServerFilter, *, sort: Sort, limit: int, marker: Server | None, with_tags: bool = True
) -> ServerPage:
    """The servers after `marker`, in order. Three statements, however long the page."""
    found = [from_row(row) for row in tx.all(_ordered(select(SERVERS), wanted, sort, marker).limit(limit))]
    failed = [s.id for s in found if s.vm_state in (states.ERROR, states.DELETED)]
    return ServerPage(
        found, tags.of_servers(tx, [s.id for s in found]) if with_tags else {}, faults.latest(tx, failed),
        len(found) == limit,
    )


def brief_page(
    tx: Tx, wanted: ServerFilter, *, sort: Sort, limit: int, marker: Server | None
) -> list[BriefServer]:
    """The same servers, ids and names only: rows are wide, and clients ask for this list again and again."""
    statement = _ordered(select(SERVERS.c.id, SERVERS.c.name), wanted, sort, marker)
    return [BriefServer(row.id, row.name) for row in tx.all(statement.limit(limit))]


def _ordered(columns: Select, wanted: ServerFilter, sort: Sort, marker: Server | None) -> Select:
    keys = [(SORT_COLUMNS[key], direction) for key, direction in sort]
    if "uuid" not in {key for key, _ in sort}:
        keys.append((SERVERS.c.id, sort[-1][1] if sort else "desc"))
    statement = columns.where(*_conditions(wanted))
    if marker is not None:
        statement = statement.where(_after(keys, marker))
    return statement.order_by(*(column.asc() if way == "asc" else column.desc() for column, way in keys))


def marker_of(tx: Tx, server_id: str) -> Server | None:
    """The row that a marker names, deleted or not."""
    row = tx.first(select(SERVERS).where(SERVERS.c.id == server_id))
    return None if row is None else from_row(row)


def _after(keys: list[tuple[ColumnElement, str]], marker: Server) -> ColumnElement[bool]:
    """Rows that come after the marker in the order of `keys`. NULLs come first, as SQLite and MariaDB have them."""
    steps: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for column, direction in keys:
        value = getattr(marker, str(column.key))
        if value is None:
            beyond = column.is_not(None) if direction == "asc" else None
            equal = column.is_(None)
        else:
            beyond = column > value if direction == "asc" else or_(column < value, column.is_(None))
            equal = column == value
        if beyond is not None:
            steps.append(and_(*same, beyond))
        same.append(equal)
    return or_(*steps) if steps else SERVERS.c.id.is_(None)


def _conditions(wanted: ServerFilter) -> list[ColumnElement[bool]]:
    table, where = SERVERS.c, list[ColumnElement[bool]]()
    if wanted.project_id is not None:
        where.append(table.project_id == wanted.project_id)
    if wanted.ids is not None:
        where.append(table.id.in_(wanted.ids))
    if wanted.deleted is not None:
        where.append(table.deleted_at.is_not(None) if wanted.deleted else table.deleted_at.is_(None))
    if wanted.name_pattern:
        where.append(_name_matches(wanted.name_pattern))
    if wanted.state_pairs is not None:
        where.append(_in_states(wanted.state_pairs))
    for column, value in wanted.equal.items():
        where.append(table[column].is_(None) if value is None else table[column] == value)
    if wanted.locked is not None:
        where.append(table.locked_by.is_not(None) if wanted.locked else table.locked_by.is_(None))
    if wanted.changed_since is not None:
        where.append(table.updated_at >= wanted.changed_since)
    if wanted.changed_before is not None:
        where.append(table.updated_at <= wanted.changed_before)
    for key, value in wanted.metadata.items():
        where.append(_holds(table.metadata, f"{_quoted(key)}:{_quoted(value)}"))
    return where + _tag_conditions(wanted) + _address_conditions(wanted)


def _name_matches(pattern: str) -> ColumnElement[bool]:
    return SERVERS.c.name.regexp_match(pattern)


def _in_states(pairs: tuple[tuple[str, str | None], ...]) -> ColumnElement[bool]:
    table = SERVERS.c
    choices = []
    for vm_state, task in pairs:
        if task is not None:
            choices.append(and_(table.vm_state == vm_state, table.task_state == task))
            continue
        others = states.tasks_with_own_status(vm_state)
        choice = table.vm_state == vm_state
        if others:
            choice = and_(choice, or_(table.task_state.is_(None), table.task_state.not_in(others)))
        choices.append(choice)
    return or_(*choices) if choices else SERVERS.c.id.is_(None)


def _tag_conditions(wanted: ServerFilter) -> list[ColumnElement[bool]]:
    def tagged(tag: str) -> ColumnElement[bool]:
        return SERVERS.c.id.in_(select(tags.TAGS.c.server_id).where(tags.TAGS.c.tag == tag))

    where = [tagged(tag) for tag in wanted.tags_all]
    if wanted.tags_any:
        where.append(or_(*(tagged(tag) for tag in wanted.tags_any)))
    if wanted.not_tags_all:
        where.append(not_(and_(*(tagged(tag) for tag in wanted.not_tags_all))))
    if wanted.not_tags_any:
        where.append(not_(or_(*(tagged(tag) for tag in wanted.not_tags_any))))
    return where


def _address_conditions(wanted: ServerFilter) -> list[ColumnElement[bool]]:
    # The cache holds `"address":"10.0.0.5","version":4`. Patterns are plain text by now (see api/servers/filters).
    where = []
    for part, version in ((wanted.ip_like, 4), (wanted.ip6_like, 6)):
        if part:
            pattern = f'"address":"[^"]*{part}[^"]*","version":{version}'
            where.append(cast(SERVERS.c.network_info, String).regexp_match(pattern))
    return where


def _holds(column: ColumnElement, text: str) -> ColumnElement[bool]:
    return func.instr(cast(column, String), text) > 0


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
