"""The trace database: one table of hops, written in batches, bounded, and losable without harm.

It has no migrations: when the table changes it gets a new name, and the old one is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    event,
    func,
    or_,
    select,
)

from pileus.kernel.context import Clock
from pileus.kernel.db import Database, Tx, UtcDateTime
from pileus.kernel.observe.hops import MAX_ID_CHARS, MAX_NAME_CHARS, Hop, HopFault

NAME = "trace"
KEEP = timedelta(days=7)
MAX_ROWS = 300_000
PRUNE_ROWS = 20_000
MAX_READ = 5_000
MAX_IDS = 200

METADATA = MetaData()

HOPS = Table(
    "hops_1",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(MAX_ID_CHARS), nullable=False),
    Column("request_id", String(MAX_ID_CHARS), nullable=False, index=True),
    Column("global_request_id", String(MAX_ID_CHARS), nullable=False, index=True),
    Column("cause", String(MAX_ID_CHARS), nullable=False),
    Column("project_id", String(MAX_ID_CHARS), nullable=False),
    Column("resource_id", String(MAX_ID_CHARS), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("host", String(255), nullable=False),
    Column("role", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(MAX_NAME_CHARS), nullable=False),
    Column("duration_ms", Float(53)),
    Column("waited_for", String(MAX_NAME_CHARS), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("fault", Text),
)

_INSERT = HOPS.insert()


def open_trace(state_dir: Path, url: str | None, clock: Clock | None = None) -> Database:
    """The trace database: the one at `url`, else a file in the state directory. See `make_table`."""
    if url:
        database = Database(url, name=NAME, clock=clock)
    else:
        database = Database.sqlite(state_dir / "db" / f"{NAME}.sqlite", name=NAME, clock=clock)
        _with_few_syncs(database.engine)
    return database


def make_table(database: Database) -> None:
    """Make the table if it is missing; several nodes may do so at once. Whoever only reads leaves it to them."""
    database.backend.wait_until_ready()
    with database.backend.migrating() as connection:
        METADATA.create_all(connection)


def _with_few_syncs(engine: Engine) -> None:
    """A loss of power may take the last hops, which nobody misses, but leaves the file whole."""

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")


def insert(tx: Tx, hops: Sequence[Hop]) -> None:
    """Add hops."""
    tx.execute(_INSERT, [_values(hop) for hop in hops])


def _values(hop: Hop) -> dict[str, Any]:
    values = msgspec.structs.asdict(hop)
    if hop.fault is not None:
        values["fault"] = msgspec.json.encode(hop.fault).decode()
    return values


def of_requests(tx: Tx, request_ids: Iterable[str]) -> list[Hop]:
    """Hops of these requests, and of those that were made for them; in order of their beginning."""
    ids, c = _some(request_ids), HOPS.c
    return _read(tx, or_(c.request_id.in_(ids), c.global_request_id.in_(ids))) if ids else []


def of_resources(tx: Tx, resource_ids: Iterable[str]) -> list[Hop]:
    """Hops that name one of these resources, in order of their beginning."""
    ids = _some(resource_ids)
    return _read(tx, HOPS.c.resource_id.in_(ids)) if ids else []


def without_request(tx: Tx, resource_ids: Iterable[str], since: datetime) -> list[Hop]:
    """Those of them that belong to no request."""
    ids, c = _some(resource_ids), HOPS.c
    return _read(tx, c.resource_id.in_(ids), c.request_id == "", c.at >= since) if ids else []


def changes(tx: Tx, resource_ids: Iterable[str]) -> list[Hop]:
    """Requests that changed one of these resources."""
    ids, c = _some(resource_ids), HOPS.c
    made = (c.kind == "http", ~c.name.startswith("GET "), c.fault.is_(None))
    return _read(tx, c.resource_id.in_(ids), *made) if ids else []


def _some(ids: Iterable[str]) -> list[str]:
    return sorted(one for one in ids if one)[:MAX_IDS]


def _read(tx: Tx, *where: Any) -> list[Hop]:
    """The newest that match, up to a bound."""
    rows = tx.all(select(HOPS).where(*where).order_by(HOPS.c.seq.desc()).limit(MAX_READ))
    return sorted((_hop(row) for row in rows), key=lambda hop: hop.at)


def _hop(row: Any) -> Hop:
    values = dict(row._mapping)
    del values["seq"]
    if values["fault"] is not None:
        values["fault"] = msgspec.json.decode(values["fault"], type=HopFault)
    return Hop(**values)


def prune(tx: Tx) -> int:
    """Forget what is too old or too much, at most `PRUNE_ROWS` rows at a time. Returns how many went."""
    newest = tx.scalar(select(func.max(HOPS.c.seq))) or 0
    # Rows are numbered in order of arrival, so the old ones are the first: no index on the time is needed.
    first = select(HOPS.c.seq, HOPS.c.at).order_by(HOPS.c.seq).limit(PRUNE_ROWS).subquery()
    old = tx.scalar(select(func.max(first.c.seq)).where(first.c.at < tx.now() - KEEP)) or 0
    among = tx.scalar(select(func.max(first.c.seq))) or 0
    last = min(max(old, newest - MAX_ROWS), among)
    return tx.execute(delete(HOPS).where(HOPS.c.seq <= last)).rowcount
