"""The directory of everything that must survive."""

from __future__ import annotations

from pathlib import Path

ENTER_ONLY = 0o711


def make_state_dir(path: Path) -> None:
    """Make it. Others may pass through (a system's QEMU runs as a user of its own), not look."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(ENTER_ONLY)
