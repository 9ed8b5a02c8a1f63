"""The rule language of oslo.policy files, compiled to closures.

    check  := or-expression
    or     := and ("or" and)*
    and    := not ("and" not)*
    not    := "not" not | "(" check ")" | "@" | "!" | kind ":" match
    kind   := "rule" | "role" | "field" | "'literal'" | a credential's name
    match  := text | %(target.key)s

Source: the rule syntax in the oslo.policy documentation. `http:` checks are refused: a policy file must not make a
server send requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Credentials = Mapping[str, Any]
Target = Mapping[str, Any]
Rules = Mapping[str, "Check"]
Check = Callable[[Credentials, Target, Rules], bool]

MAX_RULE_DEPTH = 32
_TOKEN = re.compile(r"\(|\)|[^\s()]*%\([^)]*\)s[^\s()]*|'[^']*':[^\s()]+|\"[^\"]*\":[^\s()]+|[^\s()]+")


class PolicySyntaxError(ValueError):
    """A rule that cannot be read; the text says which and where."""


def compile_check(text: str) -> Check:
    """Compile one rule. An empty rule allows everybody."""
    tokens = _TOKEN.findall(text)
    if not tokens:
        return _always
    check, rest = _parse_or(tokens, text)
    if rest:
        raise PolicySyntaxError(f"unexpected {rest[0]!r} in policy rule {text!r}")
    return check


def _always(_creds: Credentials, _target: Target, _rules: Rules) -> bool:
    return True


def _never(_creds: Credentials, _target: Target, _rules: Rules) -> bool:
    return False


def _parse_or(tokens: list[str], text: str) -> tuple[Check, list[str]]:
    check, tokens = _parse_and(tokens, text)
    while tokens and tokens[0].lower() == "or":
        right, tokens = _parse_and(tokens[1:], text)
        check = _either(check, right)
    return check, tokens


def _parse_and(tokens: list[str], text: str) -> tuple[Check, list[str]]:
    check, tokens = _parse_not(tokens, text)
    while tokens and tokens[0].lower() == "and":
        right, tokens = _parse_not(tokens[1:], text)
        check = _both(check, right)
    return check, tokens


def _parse_not(tokens: list[str], text: str) -> tuple[Check, list[str]]:
    if not tokens:
        raise PolicySyntaxError(f"policy rule {text!r} ends too early")
    head, rest = tokens[0], tokens[1:]
    if head.lower() == "not":
        inner, rest = _parse_not(rest, text)
        return (lambda c, t, r: not inner(c, t, r)), rest
    if head == "(":
        inner, rest = _parse_or(rest, text)
        if not rest or rest[0] != ")":
            raise PolicySyntaxError(f"missing ) in policy rule {text!r}")
        return inner, rest[1:]
    return _parse_leaf(head, text), rest


def _parse_leaf(token: str, text: str) -> Check:
    if token == "@":
        return _always
    if token == "!":
        return _never
    kind, colon, match = token.partition(":")
    if not colon:
        raise PolicySyntaxError(f"{token!r} in policy rule {text!r} is not kind:match")
    if kind == "rule":
        return _rule(match)
    value = _matcher(match)
    if kind == "role":
        return lambda c, t, r: str(value(t)).lower() in {str(role).lower() for role in c.get("roles", ())}
    if kind in ("http", "https"):
        raise PolicySyntaxError(f"remote checks are not supported: {token!r} in policy rule {text!r}")
    if kind == "field":
        return _field(match, text)
    if kind[0] in "'\"":
        literal = kind.strip("'\"")
        return lambda c, t, r: literal == _text(value(t))
    if kind in ("None", "True", "False"):
        return lambda c, t, r: kind == _text(value(t))
    return lambda c, t, r: _credential(c, kind, value(t))


def _field(match: str, text: str) -> Check:
    """`field:<resource>:<attribute>=<value>`, or `=~<pattern>` for a regular expression from the attribute's start:
    the network service's files compare a target's attribute so."""
    _, _, comparison = match.partition(":")
    attribute, sign, value = comparison.partition("=")
    if not sign or not attribute:
        raise PolicySyntaxError(f"field:{match} in policy rule {text!r} is not field:resource:attribute=value")
    if not value.startswith("~"):
        return lambda c, t, r: _text(_lookup(t, attribute)) == value
    try:
        pattern = re.compile(value[1:])
    except re.error as error:
        raise PolicySyntaxError(f"field:{match} in policy rule {text!r}: {error}") from None

    def check(_creds: Credentials, target: Target, _rules: Rules) -> bool:
        found = _lookup(target, attribute)
        return isinstance(found, str) and pattern.match(found) is not None

    return check


def _rule(name: str) -> Check:
    def check(creds: Credentials, target: Target, rules: Rules) -> bool:
        found = rules.get(name)
        return found is not None and found(creds, target, rules)

    return check


def _either(left: Check, right: Check) -> Check:
    return lambda c, t, r: left(c, t, r) or right(c, t, r)


def _both(left: Check, right: Check) -> Check:
    return lambda c, t, r: left(c, t, r) and right(c, t, r)


_MISSING = object()


def _matcher(match: str) -> Callable[[Target], Any]:
    if match.startswith("%(") and match.endswith(")s"):
        key = match[2:-2]
        return lambda target: _lookup(target, key)
    return lambda target: match


def _lookup(values: Mapping[str, Any], key: str) -> Any:
    if key in values:
        return values[key]
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _MISSING
        found = found[part]
    return found


def _credential(creds: Credentials, kind: str, wanted: Any) -> bool:
    have = _lookup(creds, kind)
    # A credential that is absent matches nothing, not even a target that is absent too.
    if have is _MISSING or have is None or wanted is _MISSING:
        return False
    return _text(have) == _text(wanted)


def _text(value: Any) -> str:
    return str(value)
