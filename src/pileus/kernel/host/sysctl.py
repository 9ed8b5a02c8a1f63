"""Network settings of the kernel, per network namespace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .namespaces import call_inside

PROC_SYS = Path("/proc/sys")


async def set_sysctls(
    values: Mapping[str, str], namespace: str | None = None, *, missing_ok: bool = False
) -> None:
    """Write settings ("net/ipv4/ip_forward" -> "1") where they differ.

    Raises OSError for unknown ones, unless `missing_ok` (a device may have gone meanwhile).
    """

    def write() -> None:
        for name, value in values.items():
            path = PROC_SYS / name
            try:
                if path.read_text().strip() != value:
                    path.write_text(value)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    await call_inside(namespace, write)
