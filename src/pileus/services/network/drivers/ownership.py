"""How a device says whose it is: its alias. Nothing without our mark is ever changed or removed."""

from __future__ import annotations

import re
import zlib

DEVICE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")
CLOUD_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class Ownership:
    """The mark of one cloud on one host. `cloud` is 1..32 of a-z, 0-9 and "-"; raises ValueError otherwise."""

    def __init__(self, cloud: str) -> None:
        if not CLOUD_NAME.fullmatch(cloud):
            raise ValueError(f"not a usable cloud name for host devices: {cloud!r}")
        self.cloud = cloud
        self.alias = f"pileus:{cloud}"
        #: short prefix for rule chains and tables, so that two clouds on one host do not mix
        self.tag = f"pil{zlib.crc32(cloud.encode()) & 0xFFFF:04x}"

    def owns(self, alias: str) -> bool:
        """True if a device with this alias is ours."""
        return alias == self.alias or alias.startswith(self.alias + " ")

    def alias_with(self, **notes: int) -> str:
        """The alias with small facts noted in it."""
        return " ".join([self.alias, *(f"{name}={value}" for name, value in notes.items())])


def noted(alias: str, name: str) -> int | None:
    """A number noted in any cloud's alias."""
    if not alias.startswith("pileus:"):
        return None
    found = re.search(rf" {name}=(\d+)(?: |$)", alias)
    return int(found.group(1)) if found else None
