"""From 1.15 on, answers with content say when it was changed and that they must not be kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from pileus.kernel.http import Call, Reply


def fresh(
    call: Call[Any], body: Any = None, *, modified: datetime | None = None, status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An answer. modified: when the newest of what it shows was changed; now, when that is not known."""
    sent = dict(headers or {})
    if call.at_least("1.15"):
        when = (modified or call.rt.clock.now()).replace(microsecond=0)
        sent["Last-Modified"] = format_datetime(when, usegmt=True)
        sent["Cache-Control"] = "no-cache"
    return Reply(body, status=status, headers=sent)
