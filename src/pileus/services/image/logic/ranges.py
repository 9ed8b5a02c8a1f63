"""Which bytes a download asks for (RFC 9110 section 14; one range only)."""

from __future__ import annotations

import re
from typing import Final

from pileus.services.image.errors import RangeNotSatisfiable

MAX_HEADER_CHARS: Final = 100
_RANGE: Final = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE: Final = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)", re.ASCII | re.IGNORECASE)


def wanted_range(header: str | None, legacy: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last, or None for all of it.

    header: `Range`. legacy: `Content-Range` in a request, which older clients send instead. Raises
    `RangeNotSatisfiable` for what cannot be read or understood.
    """
    given = header or legacy
    if not given:
        return None
    match = (_RANGE if header else _CONTENT_RANGE).fullmatch(given.strip()) if len(given) <= MAX_HEADER_CHARS else None
    span = _span(match.group(1), match.group(2), size) if match else None
    if span is None:
        error = RangeNotSatisfiable(given=given[:MAX_HEADER_CHARS], size=size)
        error.headers["Content-Range"] = f"bytes */{size}"
        raise error
    return span


def _span(first: str, last: str, size: int) -> tuple[int, int] | None:
    if not first:
        length = int(last) if last else 0
        return (max(0, size - length), size) if length and size else None
    start, end = int(first), min(int(last) + 1, size) if last else size
    return (start, end) if start < size and start < end else None
