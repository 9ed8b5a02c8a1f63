"""Join tokens: made once, used once, kept for a while so that it can be said what became of them."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Column, String, Table, delete, select, update

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.join.db import hosts
from pileus.services.join.db.hosts import Host
from pileus.services.join.db.metadata import METADATA
from pileus.services.join.errors import TokenExpired, TokenUsed, UnknownToken
from pileus.services.join.logic.grant import Grant

TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("secret_digest", String(64), nullable=False),
    Column("granted", Json, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("used_by", String(64)),
    Column("used_key", String(64)),
)
KEPT_DAYS = 30
NO_DIGEST = "0" * 64


def insert(tx: Tx, token_id: str, secret_digest: str, grant: Grant, ttl_s: float) -> datetime:
    """Keep a new one, drop very old ones. Returns when it expires."""
    tx.execute(delete(TOKENS).where(TOKENS.c.expires_at < tx.now() - timedelta(days=KEPT_DAYS)))
    expires_at = tx.now() + timedelta(seconds=ttl_s)
    tx.execute(TOKENS.insert().values(
        id=token_id, secret_digest=secret_digest, granted=grant, made_at=tx.now(), expires_at=expires_at,
    ))
    return expires_at


def use(tx: Tx, token_id: str, secret_digest: str, *, host: str, key_digest: str, address: str) -> Grant:
    """Let a host in by a token, in one transaction; the same host may ask again until the token expires.

    Raises UnknownToken, TokenUsed, TokenExpired, HostNameTaken.
    """
    row = tx.first(select(TOKENS).where(TOKENS.c.id == token_id))
    if not hmac.compare_digest(row.secret_digest if row else NO_DIGEST, secret_digest) or row is None:
        raise UnknownToken()
    if row.used_by is not None and (row.used_by, row.used_key) != (host, key_digest):
        raise TokenUsed(host=row.used_by)
    if row.expires_at <= tx.now():
        raise TokenExpired()
    grant = msgspec.convert(row.granted, Grant)
    hosts.admit(tx, Host(host, key_digest, address, msgspec.to_builtins(grant.processes), tx.now()))
    if row.used_by is None:
        free = update(TOKENS).where(TOKENS.c.id == token_id, TOKENS.c.used_by.is_(None))
        if tx.execute(free.values(used_by=host, used_key=key_digest)).rowcount != 1:
            raise TokenUsed(host="another")
    return grant
