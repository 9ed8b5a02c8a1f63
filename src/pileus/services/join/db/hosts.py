"""The hosts of the cloud that joined it, and the controllers that let them."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Column, String, Table, delete, select

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.join.db.metadata import METADATA
from pileus.services.join.errors import HostNameTaken

HOSTS = Table(
    "hosts",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("key_digest", String(64)),
    Column("address", String(64), nullable=False),
    Column("processes", Json, nullable=False),
    Column("joined_at", UtcDateTime, nullable=False),
)
MAX_HOSTS = 10_000


class Host(msgspec.Struct, frozen=True):
    """key_digest: of its public key; None for a controller that was there before any host joined. address: which it
    came from. processes: as the table [processes]."""

    name: str
    key_digest: str | None
    address: str
    processes: dict[str, dict]
    joined_at: datetime


def admit(tx: Tx, host: Host) -> None:
    """Keep it; the same host, known by its key, may come again. Raises HostNameTaken."""
    known = tx.first(select(HOSTS.c.key_digest).where(HOSTS.c.name == host.name))
    if known is not None and (known.key_digest is None or known.key_digest != host.key_digest):
        raise HostNameTaken(host=host.name)
    tx.execute(delete(HOSTS).where(HOSTS.c.name == host.name))
    tx.execute(HOSTS.insert().values(msgspec.structs.asdict(host)))


def be_there(tx: Tx, name: str, address: str) -> None:
    """A controller takes its own name, if it did not join under it."""
    if tx.first(select(HOSTS.c.name).where(HOSTS.c.name == name)) is None:
        mine = Host(name, None, address, {}, tx.now())
        tx.execute(HOSTS.insert().values(msgspec.structs.asdict(mine)))


def in_order(tx: Tx) -> list[Host]:
    """By name."""
    return [Host(**row._mapping) for row in tx.all(select(HOSTS).order_by(HOSTS.c.name).limit(MAX_HOSTS))]


def remove(tx: Tx, name: str) -> bool:
    """Its name is free then; whether there was one."""
    return tx.execute(delete(HOSTS).where(HOSTS.c.name == name)).rowcount > 0
