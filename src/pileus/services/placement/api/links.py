"""Links to resources, as they stand in bodies (paths) and in Location headers (whole URLs)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pileus.kernel.http import Call


def href(call: Call[Any], path: str) -> str:
    """The path of a resource as clients see it."""
    return urlsplit(call.base_url).path + path


def location(call: Call[Any], path: str) -> dict[str, str]:
    """The header that names what was made."""
    return {"Location": call.base_url + path}
