"""Query parameters: which there are at which version, and what they may look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pileus.kernel.http import Call, Version
from pileus.services.placement.errors import DuplicateQueryKey, InvalidInput


def known(
    call: Call[Any], parameters: Mapping[str, str], repeatable: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
    """The values of each parameter that was given.

    parameters: name -> version that has it. repeatable: name -> version from which it may be given more than once.
    """
    found: dict[str, list[str]] = {}
    for name, value in call.query.multi_items():
        if name not in parameters or call.version < Version.parse(parameters[name]):
            raise InvalidInput(
                "Invalid query string parameters: Additional properties are not allowed "
                f"('{name[:255]}' was unexpected)"
            )
        values = found.setdefault(name, [])
        since = (repeatable or {}).get(name)
        if values and (since is None or call.version < Version.parse(since)):
            raise DuplicateQueryKey(name=name)
        values.append(value)
    return found


def single(values: Mapping[str, list[str]], name: str) -> str | None:
    """The value of a parameter that is given at most once."""
    return values[name][0] if name in values else None
