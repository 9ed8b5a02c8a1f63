"""Decisions without I/O: roles that follow, effective assignments, addresses, password rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.services.identity.logic import password_rules
from pileus.services.identity.logic.catalog import UnknownPlaceholder, check_template, fill_in
from pileus.services.identity.logic.effective_assignments import Effective, expand
from pileus.services.identity.logic.password_rules import Compliance
from pileus.services.identity.logic.roles import closure, origins

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OFF = Compliance(
    lockout_failure_attempts=None, lockout_duration_s=1800, disable_user_account_days_inactive=None,
    password_expires_days=None, unique_last_password_count=0, minimum_password_age_days=0, password_regex=None,
    password_regex_description=None, change_password_upon_first_use=False,
)
GRAPHS = st.dictionaries(st.integers(0, 6).map(str), st.sets(st.integers(0, 6).map(str)))


@given(GRAPHS, st.sets(st.integers(0, 6).map(str)))
def test_closure_ends_and_is_closed(implied: dict[str, set[str]], granted: set[str]) -> None:
    found = closure(granted, implied)
    assert granted <= found
    assert all(implied.get(role, set()) <= found for role in found)


@given(GRAPHS)
def test_origins_name_a_direct_prior(implied: dict[str, set[str]]) -> None:
    for role in implied:
        found = origins(role, implied)
        assert set(found) == closure([role], implied) - {role}
        assert all(follower in implied[prior] for follower, prior in found.items())


def test_expand() -> None:
    stored = Effective(actor_kind="group", actor_id="g", target_kind="domain", target_id="d", role_id="a",
                       inherited=True)
    found = expand([stored], members={"g": ["u", "v"]}, below={"d": ["p"]}, implied={"a": {"b"}})
    assert {(item.actor_id, item.target_id, item.role_id, item.via_role) for item in found} == {
        ("u", "p", "a", None), ("u", "p", "b", "a"), ("v", "p", "a", None), ("v", "p", "b", "a"),
    }
    assert all(item.via_group == "g" and item.via_target == ("domain", "d") for item in found)


def test_addresses() -> None:
    values = {"project_id": "p", "tenant_id": "p", "user_id": None}
    assert fill_in("http://h/$(project_id)s/%(tenant_id)s", values) == "http://h/p/p"
    assert fill_in("http://h/$(user_id)s", values) is None
    assert fill_in("http://h/100%/$s", values) == "http://h/100%/$s"
    check_template("http://h/$(tenant_id)s")
    with pytest.raises(UnknownPlaceholder):
        check_template("http://h/%(admin_token)s")


def test_lock_ends() -> None:
    rules = msgspec.structs.replace(OFF, lockout_failure_attempts=3)

    def locked(failed: int, ago_s: int, options: dict[str, bool] | None = None, by: Compliance = rules) -> bool:
        return password_rules.is_locked(by, options or {}, failed, NOW - timedelta(seconds=ago_s), NOW)

    assert locked(3, 0)
    assert locked(4, 1799)
    assert not locked(2, 0)
    assert not locked(3, 1800)
    assert not locked(9, 0, {"ignore_lockout_failure_attempts": True})
    assert not locked(9, 0, by=OFF)


def test_expiry_first_use_age_and_inactivity() -> None:
    rules = msgspec.structs.replace(
        OFF, change_password_upon_first_use=True, password_expires_days=2, minimum_password_age_days=1,
        disable_user_account_days_inactive=10,
    )
    assert password_rules.expiry(OFF, {}, NOW, by_admin=True) is None
    assert password_rules.expiry(rules, {}, NOW, by_admin=True) == NOW
    assert password_rules.expiry(rules, {}, NOW, by_admin=False) == NOW + timedelta(days=2)
    exempt = {"ignore_password_expiry": True, "ignore_change_password_upon_first_use": True}
    assert password_rules.expiry(rules, exempt, NOW, by_admin=True) is None
    assert password_rules.too_young(rules, NOW - timedelta(hours=23), NOW)
    assert not password_rules.too_young(rules, NOW - timedelta(hours=25), NOW)
    assert password_rules.is_inactive(rules, {}, NOW - timedelta(days=11), NOW)
    assert not password_rules.is_inactive(rules, {"ignore_user_inactivity": True}, NOW - timedelta(days=11), NOW)
    assert not password_rules.is_inactive(OFF, {}, NOW - timedelta(days=999), NOW)
