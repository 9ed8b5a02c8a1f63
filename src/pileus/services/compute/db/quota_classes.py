"""Default limits that administrators set for the whole cloud: the quota class `default`, kept beside the projects'."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.kernel.quota import Quotas
from pileus.services.compute.db.metadata import QUOTAS

DEFAULT_CLASS = "default"
ROW = "class:default"
"""No project has an id of that form."""


class ClassQuotas(Quotas):
    """Limits of projects over those of the default class over the built-in ones."""

    def class_limits(self, tx: Tx) -> dict[str, int]:
        """What a project has of which nothing was set."""
        rows = tx.all(select(QUOTAS).where(QUOTAS.c.project_id == ROW))
        return self.defaults | {row.resource: row.hard_limit for row in rows if row.resource in self.limited}

    def limits(self, tx: Tx, project_id: str) -> dict[str, int]:
        """All limits of a project."""
        mine = QUOTAS.c.project_id.in_((ROW, project_id))
        rows = tx.all(select(QUOTAS).where(mine).order_by(QUOTAS.c.project_id != ROW))
        return self.defaults | {row.resource: row.hard_limit for row in rows if row.resource in self.limited}

    def set_class(self, tx: Tx, values: Mapping[str, int]) -> None:
        """Set defaults."""
        self.set(tx, ROW, values)
