"""Hostnames of guests: made from a server's name, or given and checked. Source: RFC 1123 section 2.1."""

from __future__ import annotations

import re

from pileus.kernel.errors import BadRequest

MAX_LABEL_CHARS = 63
_LABEL = re.compile(r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$")


def from_name(name: str, server_id: str) -> str:
    """A hostname out of a display name; `Server-<id>` when nothing of the name can stay."""
    text = re.sub(r"[ _.]", "-", name.encode("ascii", "ignore").decode())
    text = re.sub(r"[^a-zA-Z0-9-]+", "", text).strip("-").lower()[:MAX_LABEL_CHARS].strip("-")
    return text or f"Server-{server_id}"


def checked(hostname: str, *, qualified: bool) -> str:
    """A hostname that a user gave. `qualified`: dots are allowed (2.94)."""
    labels = hostname.split(".") if qualified else [hostname]
    if len(hostname) > (255 if qualified else MAX_LABEL_CHARS) or not all(_LABEL.match(label) for label in labels):
        raise BadRequest(f"Invalid input for field/attribute hostname. Value: {hostname[:80]}. It is not a hostname.")
    return hostname
