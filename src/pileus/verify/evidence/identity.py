"""What identity's database says: which projects there are."""

from __future__ import annotations

import msgspec
from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.identity.db.projects import PROJECTS


class IdentityRecords(msgspec.Struct, frozen=True):
    """Ids of all projects, domains among them."""

    projects: frozenset[str]


def read(tx: Tx) -> IdentityRecords:
    """All of it, in one statement."""
    return IdentityRecords(frozenset(row.id for row in tx.all(select(PROJECTS.c.id))))
