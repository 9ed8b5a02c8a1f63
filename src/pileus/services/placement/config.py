"""Every option of the placement service."""

from __future__ import annotations

import msgspec


class PlacementConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[placement]` table.

    incomplete_consumer_project_id, incomplete_consumer_user_id: owners of consumers that a client older than
    microversion 1.8 made, which name none. max_combinations: how many ways to satisfy one request for allocation
    candidates are looked at, at most.
    """

    incomplete_consumer_project_id: str = "00000000-0000-0000-0000-000000000000"
    incomplete_consumer_user_id: str = "00000000-0000-0000-0000-000000000000"
    max_combinations: int = 100_000
