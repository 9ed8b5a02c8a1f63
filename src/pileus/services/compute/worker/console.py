"""The serial console log of a guest: reading its tail and keeping it bounded.

The hypervisor appends to the file (O_APPEND), so it can be emptied under the writer: what was kept moves to a
second file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

MAX_LOG_BYTES: Final = 512 * 1024
KEPT_BYTES: Final = 256 * 1024  # what rotation keeps, and the most that is ever returned


def size(path: Path) -> int:
    """Bytes in the log; 0 when there is none yet."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def tail(path: Path, lines: int | None) -> str:
    """The last `lines` lines (all that is kept when None), across one rotation."""
    content = _end_of(path, KEPT_BYTES)
    if len(content) < KEPT_BYTES:
        content = (_end_of(_previous(path), KEPT_BYTES) + content)[-KEPT_BYTES:]
    text = content.decode("utf-8", errors="replace")
    if lines is None:
        return text
    ended = text.endswith("\n")
    wanted = text.removesuffix("\n").split("\n")[-lines:] if lines > 0 and text else []
    return "\n".join(wanted) + ("\n" if ended and wanted else "")


def bound(path: Path) -> bool:
    """Rotate a log that has grown beyond MAX_LOG_BYTES; whether it was. Output written in between may be
    lost; on a full disk, where a second file has no room, all of it is."""
    if size(path) <= MAX_LOG_BYTES:
        return False
    new = path.with_name(path.name + ".new")
    try:
        new.write_bytes(_end_of(path, KEPT_BYTES))
        new.replace(_previous(path))
    except OSError:
        new.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.truncate(path, 0)
    return True


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _end_of(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, size(path) - most))  # a log may be of any length; only its end is ever read
            return file.read(most)
    except FileNotFoundError:
        return b""
