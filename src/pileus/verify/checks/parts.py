"""Narrowing: a check runs only when all parts that it needs were read, and says so to the type checker here."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def read(part: T | None) -> T:
    """A part that the catalogue says the check needs."""
    assert part is not None, "the catalogue does not name this part among the check's needs"
    return part
