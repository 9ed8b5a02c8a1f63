"""Hops for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pileus.kernel.observe.hops import Hop

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def a_hop(number: int = 0, **values: Any) -> Hop:
    usual: dict[str, Any] = {
        "id": f"hop-{number}", "at": T0 + timedelta(seconds=number), "host": "h1", "role": "compute-agent",
        "kind": "agent", "name": f"work {number}", "duration_ms": 5.0,
    }
    return Hop(**usual | values)
