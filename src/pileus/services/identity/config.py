"""Table [identity]."""

from __future__ import annotations

import msgspec


class IdentityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the identity service.

    token_lifetime_s: how long a token is valid. allow_expired_window_s: how long after that a service may still
    validate one for work under way. max_active_keys: Fernet keys kept, staged and primary included; tokens outlive
    their key's rotation when (max_active_keys - 2) * key_rotation_s is at least both times above. key_rotation_s: age
    at which the primary key is replaced.

    scrypt_log2_cost: cost of a password hash, 15 is 32 MiB. password_memory_s: for how long a password that was just
    verified is known to be right without hashing again; 0 is never. max_list: the longest list in one answer.

    Security compliance, all off by default:
    lockout_failure_attempts: wrong passwords in a row that lock a user. lockout_duration_s: for how long.
    disable_user_account_days_inactive: days without a login after which a user counts as disabled.
    password_expires_days: age at which a password must be changed. unique_last_password_count: how many of the latest
    passwords may not be chosen again (the present one included). minimum_password_age_days: before users may change
    their password again. password_regex and its description: what a password must match.
    change_password_upon_first_use: a password that an administrator set must be changed at the first login.
    """

    token_lifetime_s: int = 3_600
    allow_expired_window_s: int = 172_800
    max_active_keys: int = 5
    key_rotation_s: int = 86_400

    scrypt_log2_cost: int = 15
    password_memory_s: float = 300.0
    max_list: int = 10_000

    lockout_failure_attempts: int | None = None
    lockout_duration_s: int = 1_800
    disable_user_account_days_inactive: int | None = None
    password_expires_days: int | None = None
    unique_last_password_count: int = 0
    minimum_password_age_days: int = 0
    password_regex: str | None = None
    password_regex_description: str | None = None
    change_password_upon_first_use: bool = False
