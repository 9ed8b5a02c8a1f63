"""The keys that seal tokens, encrypted, and their rotation.

A key is staged first, is then the primary, then secondary, and is gone. `number` is the order in which they came. The
staged key has no `primary_since`; the primary is the newest that has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Column, Integer, String, Table, delete, select, update

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.identity.db.metadata import METADATA

TOKEN_KEYS = Table(
    "token_keys",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("wrapped", String(255), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("primary_since", UtcDateTime),
)
LEAST_KEPT = 3


class TokenKey(msgspec.Struct, frozen=True):
    """wrapped: the key, encrypted with a secret of the cloud. made_at: when processes could first see it."""

    number: int
    wrapped: str
    made_at: datetime
    primary_since: datetime | None


def in_order(tx: Tx) -> list[TokenKey]:
    """The primary first, newer ones before older ones, the staged last."""
    rows = tx.all(select(TOKEN_KEYS).order_by(TOKEN_KEYS.c.number.desc()))
    keys = [TokenKey(**row._mapping) for row in rows]
    return [key for key in keys if key.primary_since] + [key for key in keys if not key.primary_since]


def set_up(tx: Tx, active: Sequence[str], staged: str, primary_since: datetime | None) -> bool:
    """Keep the first keys, unless there are some; whether it did. active: by age, the primary last.

    primary_since: of the last of them; None: from now on.
    """
    if tx.first(select(TOKEN_KEYS.c.number)) is not None:
        return False
    since = min(primary_since or tx.now(), tx.now())
    for number, wrapped in enumerate(active, start=1):
        _insert(tx, TokenKey(number, wrapped, since, since))
    _insert(tx, TokenKey(len(active) + 1, staged, tx.now(), None))
    return True


def rotate(tx: Tx, new: str, *, primary_age_s: float, staged_age_s: float, keep: int) -> bool:
    """When both are old enough: staged becomes primary, `new` is staged, the oldest beyond `keep` go. Whether it did.

    primary_age_s: since when the primary has been one. staged_age_s: since when the staged key could be seen, so that
    every process knows it. One that looks meanwhile sees all of it or nothing.
    """
    keys = in_order(tx)
    primary, staged, now = keys[0], keys[-1], tx.now()
    if primary.primary_since is None or staged.primary_since is not None:
        raise AssertionError("there is always a primary and a staged key")
    is_due = now - primary.primary_since >= timedelta(seconds=primary_age_s)
    if not is_due or now - staged.made_at < timedelta(seconds=staged_age_s):
        return False
    tx.execute(update(TOKEN_KEYS).where(TOKEN_KEYS.c.number == staged.number).values(primary_since=now))
    _insert(tx, TokenKey(staged.number + 1, new, now, None))
    oldest = staged.number + 2 - max(keep, LEAST_KEPT)
    tx.execute(delete(TOKEN_KEYS).where(TOKEN_KEYS.c.number < oldest))
    return True


def _insert(tx: Tx, key: TokenKey) -> None:
    tx.execute(TOKEN_KEYS.insert().values(msgspec.structs.asdict(key)))
