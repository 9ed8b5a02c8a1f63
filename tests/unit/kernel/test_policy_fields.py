"""Checks of a target's attribute, as operators' network policy files write them."""

from __future__ import annotations

import pytest

from pileus.kernel.context import Context
from pileus.kernel.policy import Enforcer, PolicySyntaxError, Rule

RULES = (
    Rule("shared", "field:networks:shared=True"),
    Rule("external", "field:networks:router:external=True"),
    Rule("device", "field:port:device_owner=~^network:"),
)


@pytest.mark.parametrize(
    ("rule", "target", "passes"),
    [
        ("shared", {"shared": True}, True),
        ("shared", {"shared": False}, False),
        ("shared", {}, False),
        ("external", {"router:external": True}, True),
        ("device", {"device_owner": "network:dhcp"}, True),
        ("device", {"device_owner": "compute:network:"}, False),
        ("device", {"device_owner": None}, False),
        ("device", {}, False),
    ],
)
def test_a_field_of_the_target_is_compared(rule: str, target: dict[str, object], passes: bool) -> None:
    assert Enforcer(RULES).allows(Context(), rule, target) is passes


@pytest.mark.parametrize("check", ["field:port:device_owner", "field:port:=x", "field:port:a=~("])
def test_a_broken_field_check_is_refused(check: str) -> None:
    with pytest.raises(PolicySyntaxError):
        Enforcer((Rule("x", check),))
