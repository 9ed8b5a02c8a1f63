"""Projects and domains. A domain is a project with `is_domain`; its children are the domain's top-level projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Row,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    exists,
    func,
    select,
)
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.kernel.db import Json, Tx
from pileus.services.identity.db.filters import Filter, Window, narrowed, page
from pileus.services.identity.db.metadata import METADATA

# What stands in a domain's `domain_id`: NULL would make the unique constraint on names blind.
NO_DOMAIN = ""
MAX_TREE_DEPTH = 5

PROJECTS = Table(
    "projects",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("domain_id", String(64), nullable=False),
    Column("parent_id", String(64), index=True),
    Column("name", String(255), nullable=False),
    Column("is_domain", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    Column("options", Json, nullable=False),
    Column("extra", Json, nullable=False),
    UniqueConstraint("domain_id", "name"),
)
PROJECT_TAGS = Table(
    "project_tags",
    METADATA,
    Column("project_id", String(64), ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(255), primary_key=True),
)


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project or, with `is_domain`, a domain (whose domain_id and parent_id are None)."""

    id: str
    domain_id: str | None
    parent_id: str | None
    name: str
    is_domain: bool
    enabled: bool
    description: str
    options: dict[str, Any]
    extra: dict[str, Any]
    tags: tuple[str, ...] = ()


class TagFilter(msgspec.Struct, frozen=True):
    """Which tags a project must have: all of `every`, one of `some`, not all of `not_every`, none of `not_some`."""

    every: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    not_every: tuple[str, ...] = ()
    not_some: tuple[str, ...] = ()


_COLUMNS = tuple(column.name for column in PROJECTS.columns)


def _project(row: Row[Any], tags: tuple[str, ...]) -> Project:
    values = dict(row._mapping)
    return Project(**(values | {"domain_id": values["domain_id"] or None, "tags": tags}))


def _with_tags(tx: Tx, rows: list[Row[Any]]) -> list[Project]:
    tags: dict[str, list[str]] = {}
    ids = [row.id for row in rows]
    query = select(PROJECT_TAGS).order_by(PROJECT_TAGS.c.name)
    for start in range(0, len(ids), 500):
        for tag in tx.all(query.where(PROJECT_TAGS.c.project_id.in_(ids[start : start + 500]))):
            tags.setdefault(tag.project_id, []).append(tag.name)
    return [_project(row, tuple(tags.get(row.id, ()))) for row in rows]


def get(tx: Tx, project_id: str) -> Project | None:
    """A project or domain by id."""
    rows = tx.all(select(PROJECTS).where(PROJECTS.c.id == project_id))
    return _with_tags(tx, rows)[0] if rows else None


def get_domain(tx: Tx, domain_id: str) -> Project | None:
    """A domain by id; None for a project that is none."""
    found = get(tx, domain_id)
    return found if found is not None and found.is_domain else None


def get_by_name(tx: Tx, name: str, domain_id: str | None) -> Project | None:
    """A project by name in its domain; with domain None, a domain by name."""
    rows = tx.all(select(PROJECTS).where(PROJECTS.c.name == name, PROJECTS.c.domain_id == (domain_id or NO_DOMAIN)))
    return _with_tags(tx, rows)[0] if rows else None


def insert(tx: Tx, project: Project) -> None:
    """Store a new one. IntegrityError-free when the name was looked up in the same transaction."""
    values = {name: getattr(project, name) for name in _COLUMNS}
    tx.execute(PROJECTS.insert().values(**(values | {"domain_id": project.domain_id or NO_DOMAIN})))
    set_tags(tx, project.id, project.tags)


def update(tx: Tx, project_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns."""
    if changes:
        tx.execute(sql_update(PROJECTS).where(PROJECTS.c.id == project_id).values(**changes))


def delete(tx: Tx, project_ids: Iterable[str]) -> None:
    """Delete them and their tags; their assignments and users are the caller's business."""
    tx.execute(sql_delete(PROJECTS).where(PROJECTS.c.id.in_(list(project_ids))))


def set_tags(tx: Tx, project_id: str, tags: Iterable[str]) -> None:
    """Replace all tags."""
    tx.execute(sql_delete(PROJECT_TAGS).where(PROJECT_TAGS.c.project_id == project_id))
    for tag in dict.fromkeys(tags):
        tx.execute(PROJECT_TAGS.insert().values(project_id=project_id, name=tag))


def listing(tx: Tx, filters: tuple[Filter, ...], tags: TagFilter, window: Window) -> list[Project]:
    """One page of projects."""
    query = _tagged(narrowed(select(PROJECTS), PROJECTS, filters), tags)
    return _with_tags(tx, page(tx, query, PROJECTS, window))


def by_ids(tx: Tx, ids: Iterable[str], filters: tuple[Filter, ...] = ()) -> list[Project]:
    """The projects of those ids that pass the filters, by name."""
    query = narrowed(select(PROJECTS), PROJECTS, filters).where(PROJECTS.c.id.in_(list(ids)))
    return _with_tags(tx, tx.all(query.order_by(PROJECTS.c.name)))


def children(tx: Tx, project_id: str) -> list[Project]:
    """The projects directly below."""
    return _with_tags(tx, tx.all(select(PROJECTS).where(PROJECTS.c.parent_id == project_id).order_by(PROJECTS.c.name)))


def subtree(tx: Tx, project_id: str) -> list[Project]:
    """All projects below, parents before children."""
    found, level = [], [project_id]
    while level:
        rows = tx.all(select(PROJECTS).where(PROJECTS.c.parent_id.in_(level)).order_by(PROJECTS.c.name))
        found += _with_tags(tx, rows)
        level = [row.id for row in rows]
    return found


def ancestors(tx: Tx, project: Project) -> list[Project]:
    """The projects above, nearest first; the last one is the domain."""
    found: list[Project] = []
    parent_id = project.parent_id
    while parent_id is not None and len(found) <= MAX_TREE_DEPTH and (parent := get(tx, parent_id)) is not None:
        found.append(parent)
        parent_id = parent.parent_id
    return found


def _tagged(query: Select[Any], tags: TagFilter) -> Select[Any]:
    def having(names: tuple[str, ...]) -> Any:
        return (
            select(func.count())
            .select_from(PROJECT_TAGS)
            .where(PROJECT_TAGS.c.project_id == PROJECTS.c.id, PROJECT_TAGS.c.name.in_(names))
            .scalar_subquery()
        )

    if tags.every:
        query = query.where(having(tags.every) == len(set(tags.every)))
    if tags.some:
        query = query.where(having(tags.some) > 0)
    if tags.not_every:
        query = query.where(having(tags.not_every) < len(set(tags.not_every)))
    if tags.not_some:
        query = query.where(~exists().where(PROJECT_TAGS.c.project_id == PROJECTS.c.id,
                                            PROJECT_TAGS.c.name.in_(tags.not_some)))
    return query
