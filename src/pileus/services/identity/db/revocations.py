"""Revocation events: tokens that would be valid by their content but must not be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, String, Table, bindparam, delete, select

from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.identity.db.metadata import METADATA

REVOCATIONS = Table(
    "revocations",
    METADATA,
    Column("subject", String(80), primary_key=True),
    Column("issued_before", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

REMEMBERED = "remembered:all"
"""The row that says since when nothing counts that somebody remembers of any token."""
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_MATCH = select(REVOCATIONS.c.subject).where(
    REVOCATIONS.c.subject.in_(bindparam("subjects", expanding=True)),
    REVOCATIONS.c.issued_before >= bindparam("issued_at", type_=UtcDateTime),
)


def revoke(tx: Tx, kind: str, identifier: str, *, keep_for_s: float) -> None:
    """Make every token issued until now for `kind` (audit, user, project, domain) invalid.

    keep_for_s: as long as such a token could be shown to us; the event is dropped afterwards.
    """
    subject = f"{kind}:{identifier}"
    tx.execute(delete(REVOCATIONS).where(REVOCATIONS.c.subject == subject))
    until = tx.now() + timedelta(seconds=keep_for_s)
    tx.execute(REVOCATIONS.insert().values(subject=subject, issued_before=tx.now(), expires_at=until))


def is_revoked(tx: Tx, subjects: list[str], issued_at: datetime) -> bool:
    """Whether an event covers a token issued then that has those subjects (`user:…`, `audit:…`, …)."""
    return tx.execute(_MATCH, {"subjects": subjects, "issued_at": issued_at}).first() is not None


def forget_remembered(tx: Tx) -> int:
    """What was said of tokens so far must not be used any more; returns the number that answers have from now on."""
    number = max((tx.now() - EPOCH) // MICROSECOND, generation(tx) + 1)  # also when the clock went back
    tx.execute(delete(REVOCATIONS).where(REVOCATIONS.c.subject == REMEMBERED))
    since = EPOCH + number * MICROSECOND
    tx.execute(REVOCATIONS.insert().values(subject=REMEMBERED, issued_before=since, expires_at=NEVER))
    return number


def generation(tx: Tx) -> int:
    """The number of the last change to what tokens mean; it grows. 1: there was none yet."""
    since = tx.scalar(select(REVOCATIONS.c.issued_before).where(REVOCATIONS.c.subject == REMEMBERED))
    return 1 if since is None else (since - EPOCH) // MICROSECOND


def prune(tx: Tx) -> int:
    """Drop events that no living token can match; how many."""
    return tx.execute(delete(REVOCATIONS).where(REVOCATIONS.c.expires_at < tx.now())).rowcount
