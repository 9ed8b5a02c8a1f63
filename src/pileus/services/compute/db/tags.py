"""Tags of servers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Column, ForeignKey, Index, String, Table, delete, select

from pileus.kernel.db import Tx
from pileus.services.compute.db.metadata import METADATA

TAGS = Table(
    "server_tags",
    METADATA,
    Column("server_id", String(36), ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", String(60), primary_key=True),
    Index("ix_server_tags_tag", "tag"),
)


def of_servers(tx: Tx, server_ids: list[str]) -> dict[str, list[str]]:
    """Tags of each of these servers that has any, sorted."""
    found: dict[str, list[str]] = defaultdict(list)
    if server_ids:
        for row in tx.all(select(TAGS).where(TAGS.c.server_id.in_(server_ids)).order_by(TAGS.c.tag)):
            found[row.server_id].append(row.tag)
    return dict(found)


def replace(tx: Tx, server_id: str, tags: Iterable[str]) -> None:
    """Set all tags of a server."""
    tx.execute(delete(TAGS).where(TAGS.c.server_id == server_id))
    rows = [{"server_id": server_id, "tag": tag} for tag in dict.fromkeys(tags)]
    if rows:
        tx.execute(TAGS.insert(), rows)


def remove(tx: Tx, server_id: str, tag: str) -> bool:
    """Take one tag away. False when it was not there."""
    return tx.execute(delete(TAGS).where(TAGS.c.server_id == server_id, TAGS.c.tag == tag)).rowcount > 0
