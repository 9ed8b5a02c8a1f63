"""Files that are whole after a power cut: content is on the disk before a name points to it, and then so is the name.

A rename alone promises only that readers see the old or the new file while the machine runs; after a power cut the new
name may stand for an empty file, or the old one may be back.
"""

from __future__ import annotations

import os
from pathlib import Path

OWNER_ONLY = 0o600


def write(path: Path, content: bytes, mode: int = OWNER_ONLY) -> None:
    """Make or replace a file: it is either the old or the new one, whatever happens. Raises OSError."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(content)
        while view:  # a disk that fills up takes a part first, and refuses the next
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    new.replace(path)
    sync(path.parent)


def publish(new: Path, path: Path) -> None:
    """Give a finished file its name. Raises OSError."""
    sync(new)
    new.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's list of names, is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
