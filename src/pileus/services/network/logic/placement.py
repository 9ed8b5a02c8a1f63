"""Which agent serves a router or a network's DHCP."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def choose_host(hosts: Collection[str], load: Mapping[str, int]) -> str | None:
    """The least loaded host, the first by name among equals; None when there is none."""
    return min(sorted(hosts), key=lambda host: load.get(host, 0), default=None)
