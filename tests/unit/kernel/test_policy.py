"""The rule language means what operators' files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.kernel.context import Context
from pileus.kernel.policy import Enforcer, PolicySyntaxError, Rule

ANN = Context(user_id="ann", project_id="p1", roles=("member",))
ROOT = Context(user_id="root", project_id="p0", roles=("Admin",))
RULES = (Rule("admin", "role:admin"), Rule("owner", "project_id:%(project_id)s"))


@pytest.mark.parametrize(
    ("check", "ann", "root"),
    [
        ("", True, True), ("@", True, True), ("!", False, False), ("rule:admin", False, True),
        ("rule:owner", True, False), ("rule:admin or rule:owner", True, True),
        ("rule:admin and rule:owner", False, False), ("not rule:admin", True, False),
        ("not (rule:admin or role:member)", False, False), ("rule:missing", False, False),
        ("user_id:%(target.user.id)s", True, False), ("user_id:%(absent)s", False, False),
        ("system_scope:all", False, False), ("'p1':%(project_id)s", True, True), ("True:%(shared)s", True, True),
        ("role:admin or role:member and not role:member", False, True),
    ],
)
def test_checks(check: str, ann: bool, root: bool) -> None:
    enforcer = Enforcer((*RULES, Rule("it", check)))
    target = {"project_id": "p1", "target": {"user": {"id": "ann"}}, "shared": True}
    assert enforcer.allows(ANN, "it", target) is ann
    assert enforcer.allows(ROOT, "it", target) is root


@pytest.mark.parametrize("check", ["(role:admin", "role", "role:admin or", "rule:a rule:b", "http://x/y:z"])
def test_rules_that_cannot_be_read_are_refused_at_start(check: str) -> None:
    with pytest.raises(PolicySyntaxError):
        Enforcer((Rule("it", check),))


def test_rules_that_refer_to_each_other_are_refused() -> None:
    with pytest.raises(PolicySyntaxError):
        Enforcer((Rule("a", "rule:b"), Rule("b", "not rule:a")))


def test_an_operators_file_lies_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text('"admin": "role:member"\n')
    assert Enforcer.from_file(RULES, path).allows(ANN, "admin", {})
