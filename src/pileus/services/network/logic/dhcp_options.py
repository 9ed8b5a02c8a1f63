"""Extra DHCP options of a port: only what cannot become anything else in the DHCP server's files."""

from __future__ import annotations

import re
from typing import Any

MAX_OPTIONS = 32
MAX_VALUE_CHARS = 255
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_VALUE = re.compile(r"[\x20-\x7e]*")

# The cloud decides these itself: a guest's address, mask, lease and identity.
RESERVED = frozenset(
    {
        "netmask", "requested-address", "lease-time", "client-id", "message-type", "server-id",
        "1", "50", "51", "53", "54", "61",
    }
)  # fmt: skip


def check(options: Any) -> list[dict[str, Any]]:
    """The options in canonical form. Raises ValueError with the reason."""
    if options is None:
        return []
    if not isinstance(options, list) or len(options) > MAX_OPTIONS:
        raise ValueError(f"expected a list of at most {MAX_OPTIONS} options")
    seen: set[tuple[str, int]] = set()
    checked = []
    for option in options:
        found = _one(option)
        key = (found["opt_name"], found["ip_version"])
        if key in seen:
            raise ValueError(f"Duplicate DHCP option: '{found['opt_name']}'")
        seen.add(key)
        checked.append(found)
    return checked


def _one(option: Any) -> dict[str, Any]:
    if not isinstance(option, dict) or not set(option) <= {"opt_name", "opt_value", "ip_version"}:
        raise ValueError("an option has the keys opt_name, opt_value and ip_version only")
    name, value, version = option.get("opt_name"), option.get("opt_value"), option.get("ip_version", 4)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"'{str(name)[:40]!r}' is not the name of a DHCP option")
    if name in RESERVED or (name.isdigit() and not 1 <= int(name) <= 254):
        raise ValueError(f"the DHCP option '{name}' may not be set")
    if version not in (4, 6, "4", "6"):
        raise ValueError("ip_version must be 4 or 6")
    if value is not None and (
        not isinstance(value, str) or len(value) > MAX_VALUE_CHARS or not _VALUE.fullmatch(value)
    ):
        raise ValueError(f"the value of '{name}' may hold at most {MAX_VALUE_CHARS} printable ASCII characters")
    return {"opt_name": name, "opt_value": value, "ip_version": int(version)}


def merge(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Options after an update: named ones change, those with the value None go, others stay."""
    merged = {(option["opt_name"], option["ip_version"]): option for option in [*old, *new]}
    return [option for option in merged.values() if option["opt_value"] is not None]
