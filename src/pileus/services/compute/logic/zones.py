"""Reading what users write as availability zone: `zone`, or for administrators `zone:host:node`."""

from __future__ import annotations

import msgspec

from pileus.services.compute.errors import InvalidInput


class Placement(msgspec.Struct, frozen=True):
    """Where a server should go. `forced`: past the scheduler's filters."""

    zone: str | None = None
    host: str | None = None
    node: str | None = None
    forced: bool = False


def parse(text: str | None) -> Placement:
    """`nova`, `nova:host1`, `nova:host1:node1`, `nova::node1`."""
    if not text:
        return Placement()
    parts = text.split(":")
    if len(parts) > 3:
        raise InvalidInput(reason=f"Unable to parse availability_zone '{text[:80]}'")
    zone, host, node = ([*parts, "", ""])[:3]
    return Placement(zone or None, host or None, node or None, bool(host or node))
