"""Checks a context against a service's rule table, with the operator's file laid over it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pileus.kernel.context import Context
from pileus.kernel.errors import Forbidden
from pileus.kernel.policy.language import Check, PolicySyntaxError, compile_check

log = logging.getLogger(__name__)


class Rule(msgspec.Struct, frozen=True):
    """One row of a service's `policies.py`: the rule's name, its default check, a sentence for the reference."""

    name: str
    check: str
    description: str = ""


class Enforcer:
    """All rules of one service, compiled."""

    def __init__(self, rules: Iterable[Rule], overrides: Mapping[str, str] | None = None) -> None:
        table = {rule.name: rule.check for rule in rules}
        table.update(overrides or {})
        self.texts = table
        self._checks: dict[str, Check] = {name: compile_check(text) for name, text in table.items()}
        _refuse_cycles(table)

    @classmethod
    def from_file(cls, rules: Iterable[Rule], path: Path | None) -> Enforcer:
        """Defaults with an oslo.policy YAML (or JSON) file over them; None: no overrides.

        OSError when the file that is named cannot be read: going on without it could open what it closes.
        """
        if path is None:
            return cls(rules)
        try:
            loaded = yaml.safe_load(path.read_text()) or {}
        except yaml.YAMLError as error:
            raise PolicySyntaxError(f"{path} is not YAML: {error}") from error
        if not isinstance(loaded, dict) or not all(isinstance(check, str) for check in loaded.values()):
            raise PolicySyntaxError(f"{path} is not a mapping of rule names to checks")
        table = tuple(rules)
        own = {str(name): check for name, check in loaded.items()}
        _warn_of_strangers(path, own, {rule.name for rule in table})
        return cls(table, own)

    def knows(self, rule: str) -> bool:
        """Whether a rule of that name exists."""
        return rule in self._checks

    def allows(self, context: Context, rule: str, target: Mapping[str, Any]) -> bool:
        """Whether the rule passes. A rule that does not exist refuses."""
        check = self._checks.get(rule)
        return check is not None and check(context.credentials(), target, self._checks)

    def enforce(self, context: Context, rule: str, target: Mapping[str, Any]) -> None:
        """Raise `Forbidden`, naming the rule, unless it passes."""
        if not self.allows(context, rule, target):
            raise Forbidden(rule=rule)


def _warn_of_strangers(path: Path, own: Mapping[str, str], known: set[str]) -> None:
    # A name that nothing asks for may be an alias that other rules of the file use, or a slip of the pen.
    for name in own.keys() - known:
        if not any(f"rule:{name}" in check for check in own.values()):
            log.warning("%s: no rule is named %s; the line has no effect", path, name)


def _refuse_cycles(table: Mapping[str, str]) -> None:
    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise PolicySyntaxError(f"policy rules refer to each other: {' -> '.join((*path, name))}")
        for word in table.get(name, "").replace("(", " ").replace(")", " ").split():
            if word.startswith("rule:"):
                walk(word[5:], (*path, name))

    for name in table:
        walk(name, ())
