"""`host:port`, with brackets around an IPv6 address."""

from __future__ import annotations

from urllib.parse import urlsplit


def at(host: str, port: int) -> str:
    """As text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parts(place: str) -> tuple[str, int]:
    """Host and port. Raises ValueError."""
    found = urlsplit(f"//{place}")
    if not found.hostname or not found.port or found.path or found.username is not None:
        raise ValueError(f"{place!r} is not host:port")
    return found.hostname, found.port
