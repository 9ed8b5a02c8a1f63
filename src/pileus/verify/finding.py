"""What verify finds: two sides that should agree and do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

Key = tuple[str, str, tuple[tuple[str, str], ...]]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One disagreement, as a check reports it.

    resources: ids by kind (`{"server": "…"}`); with the finding's name and the host they say which finding it is, so
    nothing that changes from moment to moment belongs there. says, found: the one side and the other, each a clause
    that begins with who says so. host: where it is, "" for the databases. facts: what the repair needs besides.
    """

    resources: Mapping[str, str]
    says: str
    found: str
    host: str = ""
    facts: Mapping[str, Any] = {}


class Finding(Difference, frozen=True, kw_only=True):
    """A difference with its name in the catalogue."""

    name: str

    @property
    def key(self) -> Key:
        """The same in two looks, if it is the same finding."""
        return self.name, self.host, tuple(sorted(self.resources.items()))
