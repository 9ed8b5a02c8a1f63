"""Which roles follow from which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def closure(granted: Iterable[str], implied: Mapping[str, Iterable[str]]) -> set[str]:
    """The granted roles and all that they imply, however indirectly."""
    found: set[str] = set()
    waiting = list(granted)
    while waiting:
        role = waiting.pop()
        if role not in found:
            found.add(role)
            waiting.extend(implied.get(role, ()))
    return found


def origins(role: str, implied: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Every role that follows from `role`, with the role that implies it directly."""
    found: dict[str, str] = {}
    waiting = [role]
    while waiting:
        prior = waiting.pop()
        for follower in implied.get(prior, ()):
            if follower not in found and follower != role:
                found[follower] = prior
                waiting.append(follower)
    return found
