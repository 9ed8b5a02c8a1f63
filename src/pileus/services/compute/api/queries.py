"""Reading query parameters: which are allowed, times, booleans, integers; each mistake is a 400 in the usual words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call

TRUE_WORDS = frozenset({"1", "t", "true", "on", "y", "yes"})
FALSE_WORDS = frozenset({"0", "f", "false", "off", "n", "no"})
STRICT_SINCE = "2.75"


def only(call: Call[Any], *names: str, since: str = STRICT_SINCE) -> None:
    """Refuse parameters that this list does not have; older microversions ignore them."""
    if not call.at_least(since):
        return
    for name in call.query:
        if name not in names:
            raise BadRequest(
                "Invalid input for query parameters. "
                f"Additional properties are not allowed ('{name[:80]}' was unexpected)"
            )


def _refusal(name: str, text: str, wanted: str) -> BadRequest:
    return BadRequest(f"Invalid input for query parameters {name}. Value: {text[:80]}. It is not {wanted}.")


def boolean(text: str | None, name: str, default: bool | None = None) -> bool | None:
    """A yes or a no."""
    if text is None:
        return default
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise _refusal(name, text, "a boolean")


def lenient_boolean(text: str | None) -> bool:
    """A yes or, for everything else, a no."""
    return text is not None and text.strip().lower() in TRUE_WORDS


def integer(text: str | None, name: str, default: int = 0) -> int:
    """A number that is not negative."""
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise _refusal(name, text, "a positive integer")
    return int(text)


def time(text: str | None, name: str) -> datetime | None:
    """An ISO 8601 time; UTC when it names no zone."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # the second: in UTC it is after the year 9999
        raise _refusal(name, text, "a date-time") from None
