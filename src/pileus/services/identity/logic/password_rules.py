"""What a login and a new password must satisfy, by the operator's settings and the user's own options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec


class Compliance(msgspec.Struct, frozen=True, kw_only=True):
    """The settings; see the options of the same names in `config.py`."""

    lockout_failure_attempts: int | None
    lockout_duration_s: int
    disable_user_account_days_inactive: int | None
    password_expires_days: int | None
    unique_last_password_count: int
    minimum_password_age_days: int
    password_regex: str | None
    password_regex_description: str | None
    change_password_upon_first_use: bool


def is_locked(
    rules: Compliance, options: Mapping[str, Any], failed: int, last_failed_at: datetime | None, now: datetime
) -> bool:
    """Whether too many logins failed too recently."""
    if rules.lockout_failure_attempts is None or options.get("ignore_lockout_failure_attempts"):
        return False
    if failed < rules.lockout_failure_attempts or last_failed_at is None:
        return False
    return now < last_failed_at + timedelta(seconds=rules.lockout_duration_s)


def is_inactive(rules: Compliance, options: Mapping[str, Any], last_active_at: datetime, now: datetime) -> bool:
    """Whether a user has not logged in for so long that they count as disabled."""
    days = rules.disable_user_account_days_inactive
    return days is not None and not options.get("ignore_user_inactivity") and now - last_active_at > timedelta(days)


def expiry(rules: Compliance, options: Mapping[str, Any], now: datetime, *, by_admin: bool) -> datetime | None:
    """When a password that is set now will have to be changed."""
    if by_admin and rules.change_password_upon_first_use and not options.get("ignore_change_password_upon_first_use"):
        return now
    if rules.password_expires_days is None or options.get("ignore_password_expiry"):
        return None
    return (now + timedelta(days=rules.password_expires_days)).replace(microsecond=0)


def refusal(rules: Compliance, password: str) -> str | None:
    """Why a new password is not strong enough, None when it is."""
    if rules.password_regex is None or re.match(rules.password_regex, password):
        return None
    return rules.password_regex_description or "it does not match the required pattern."


def too_young(rules: Compliance, created_at: datetime | None, now: datetime) -> bool:
    """Whether a user may not change their password yet."""
    return (
        rules.minimum_password_age_days > 0
        and created_at is not None
        and now - created_at < timedelta(days=rules.minimum_password_age_days)
    )
