"""Endpoint addresses for one token."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDERS = frozenset({"project_id", "tenant_id", "user_id"})
_PLACEHOLDER = re.compile(r"[$%]\((\w+)\)s")


class UnknownPlaceholder(ValueError):
    """An address template names something that is not known for any token."""


def check_template(url: str) -> None:
    """Raise `UnknownPlaceholder` for a template that could never be filled in."""
    for name in _PLACEHOLDER.findall(url):
        if name not in PLACEHOLDERS:
            raise UnknownPlaceholder(name)


def fill_in(url: str, values: Mapping[str, str | None]) -> str | None:
    """The address with `$(project_id)s`, `%(tenant_id)s`, `$(user_id)s` filled in; None when one is not known."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        found = values.get(match.group(1))
        missing = missing or found is None
        return found or ""

    filled = _PLACEHOLDER.sub(value, url)
    return None if missing else filled
