"""Uuids as clients write them, and the one form in which they are kept."""

from __future__ import annotations

import re
import uuid

FORM = r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"
_FORM = re.compile(FORM)


def canonical(text: str) -> str | None:
    """Lower case with dashes; None for what is no uuid."""
    return str(uuid.UUID(text)) if _FORM.fullmatch(text) else None
