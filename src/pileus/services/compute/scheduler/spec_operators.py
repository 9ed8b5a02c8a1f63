"""The comparison language of flavor extra specs: `>= 4`, `s== abc`, `<in> x`, `<or> a <or> b`, or a plain value.

Source: the "compute capabilities" chapter of the compute service's administration guide.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

NUMERIC: dict[str, Callable[[float, float], bool]] = {
    # A single `=` has always meant "at least" here.
    "=": operator.ge, ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}
TEXTUAL: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq, "s!=": operator.ne, "s<": operator.lt, "s<=": operator.le, "s>": operator.gt,
    "s>=": operator.ge,
}


def matches(wanted: str, value: str) -> bool:
    """Whether a host's value meets what the extra spec asks for."""
    words = wanted.split()
    if not words:
        return value == wanted
    sign, operands = words[0], words[1:]
    if sign in NUMERIC:
        try:
            return len(operands) == 1 and NUMERIC[sign](float(value), float(operands[0]))
        except ValueError:
            return False
    if sign in TEXTUAL:
        return TEXTUAL[sign](value, " ".join(operands))
    if sign == "<in>":
        return bool(operands) and " ".join(operands) in value
    if sign == "<all-in>":
        return all(word in value for word in operands)
    if sign == "<or>":
        choices = (choice.strip() for choice in wanted.split("<or>"))
        return value in [choice for choice in choices if choice]
    return value == wanted
