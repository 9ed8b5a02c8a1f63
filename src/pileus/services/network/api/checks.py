"""Checks of attribute values: each takes what the client sent and gives the value to keep, or raises ValueError with
the reason."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], Any]

MAX_LIST = 256
SHOWN_CHARS = 60
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


def shown(value: Any) -> str:
    """A value for an error text, cut to a bearable length."""
    text = str(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."


def text(limit: int = 255, *, empty: bool = True) -> Check:
    """Text of at most `limit` characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"'{shown(value)}' is not a valid string")
        if len(value) > limit:
            raise ValueError(f"'{shown(value)}' exceeds maximum length of {limit}")
        if not empty and not value.strip():
            raise ValueError(f"'{value}' Blank strings are not permitted")
        if "\x00" in value:
            raise ValueError("a NUL character is not permitted")
        return value

    return check


def boolean(value: Any) -> bool:
    """JSON booleans and the usual words for them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (str, int)):
        word = str(value).lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    raise ValueError(f"'{shown(value)}' cannot be converted to boolean")


def integer(low: int, high: int) -> Check:
    """Whole numbers, also as text."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", str(value)):
            raise ValueError(f"'{shown(value)}' is not an integer")
        if not low <= int(value) <= high:
            edge = "small" if int(value) < low else "large"
            limit = f"at least '{low}'" if int(value) < low else f"no larger than '{high}'"
            raise ValueError(f"'{shown(value)}' is too {edge} - must be {limit}")
        return int(value)

    return check


def one_of(*choices: str) -> Check:
    """One of some words."""

    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"'{shown(value)}' is not in {list(choices)}")
        return value

    return check


def optional(inner: Check) -> Check:
    """None stays None."""
    return lambda value: None if value is None else inner(value)


def identifier(value: Any) -> str:
    """A uuid with dashes, or 32 hexadecimal digits as given by identity."""
    try:
        if not isinstance(value, str):
            raise ValueError
        uuid.UUID(value)
    except ValueError:
        raise ValueError(f"'{shown(value)}' is not a valid UUID") from None
    return value


def address(value: Any) -> str:
    """An IP address in canonical spelling."""
    try:
        if not isinstance(value, str) or value != value.strip() or "%" in value:
            raise ValueError
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"'{shown(value)}' is not a valid IP address") from None


def cidr(value: Any) -> str:
    """A network in canonical spelling, without host bits."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError(f"'{shown(value)}' is not a valid IP subnet") from None


def mac(value: Any) -> str:
    """A unicast hardware address, lower case with colons."""
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        raise ValueError(f"'{shown(value)}' is not a valid MAC address")
    canonical = value.lower().replace("-", ":")
    if int(canonical[:2], 16) & 1 or canonical == "00:00:00:00:00:00":
        raise ValueError(f"'{shown(value)}' is not an address that a port may have")
    return canonical


def list_of(inner: Check, *, limit: int = MAX_LIST, unique: bool = True) -> Check:
    """A list of checked values."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"'{shown(value)}' is not a list")
        if len(value) > limit:
            raise ValueError(f"a list of at most {limit} items is expected")
        found = [inner(item) for item in value]
        if unique:
            for at, item in enumerate(found):
                if item in found[:at]:
                    raise ValueError(f"Duplicate items in the list: '{shown(item)}'")
        return found

    return check


def record(required: dict[str, Check], optional_keys: dict[str, Check] | None = None) -> Check:
    """A JSON object with known keys."""
    more = optional_keys or {}

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"'{shown(value)}' is not a dictionary")
        missing = sorted(set(required) - set(value))
        if missing:
            raise ValueError(f"Validation of dictionary's keys failed. Expected keys: {sorted(required)}")
        unknown = sorted(set(value) - set(required) - set(more))
        if unknown:
            raise ValueError(f"Unexpected keys supplied: {', '.join(shown(key) for key in unknown)}")
        known = required | more
        return {key: known[key](item) for key, item in value.items()}

    return check


def mapping(value: Any) -> dict[str, Any]:
    """Any JSON object; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"'{shown(value)}' is not a dictionary")
    return value
