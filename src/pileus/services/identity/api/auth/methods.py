"""Authentication methods: each turns what the client shows into a user, or answers 401."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.process import Runtime
from pileus.services.identity.api.auth.bodies import Auth, DomainRef, PasswordUser
from pileus.services.identity.api.auth.passwords import PasswordChecks, check_length
from pileus.services.identity.api.auth.session import Tokens
from pileus.services.identity.config import IdentityConfig
from pileus.services.identity.db import references, users
from pileus.services.identity.db.users import User
from pileus.services.identity.errors import InvalidCredentials, InvalidInput, PasswordExpired
from pileus.services.identity.logic import password_rules
from pileus.services.identity.logic.password_rules import Compliance
from pileus.services.identity.logic.token_payload import TokenPayload

ACTIVITY_GRAIN = timedelta(hours=1)


class Proof(msgspec.Struct, frozen=True):
    """Who somebody is and how they showed it. parent: the token they showed, when it was one."""

    user_id: str
    methods: tuple[str, ...]
    parent: TokenPayload | None = None


async def prove(rt: Runtime[IdentityConfig], auth: Auth) -> Proof:
    """Run all methods of the request; they must all speak for the same user."""
    names = list(dict.fromkeys(auth.identity.methods))
    if not names:
        raise InvalidInput(reason="At least one authentication method is needed.")
    if any(name not in METHODS for name in names):
        raise InvalidCredentials(detail="unsupported method")
    proofs = [await METHODS[name](rt, auth) for name in names]
    if len({proof.user_id for proof in proofs}) != 1:
        raise InvalidCredentials(detail="the methods speak for different users")
    parent = next((proof.parent for proof in proofs if proof.parent is not None), None)
    used = dict.fromkeys(method for proof in proofs for method in proof.methods)
    return Proof(proofs[0].user_id, tuple(used), parent)


async def by_token(rt: Runtime[IdentityConfig], auth: Auth) -> Proof:
    """A token that is still valid."""
    if auth.identity.token is None:
        raise InvalidInput(reason="The method token needs the object 'token' with an id.")
    found = await rt.get(Tokens).validate(auth.identity.token.id)
    if found is None:
        raise InvalidCredentials()
    return Proof(found.user.id, ("token", *found.payload.methods), found.payload)


async def by_password(rt: Runtime[IdentityConfig], auth: Auth) -> Proof:
    """A user's password."""
    if auth.identity.password is None:
        raise InvalidInput(reason="The method password needs the object 'password' with a user.")
    wanted = auth.identity.password.user
    check_reference(wanted.id, wanted.name, wanted.domain, "user")
    check_length(wanted.password)
    user = await rt.db.read(find_user, wanted)
    await check_password(rt, user, wanted.password)
    assert user is not None
    if user.password_expires_at is not None and user.password_expires_at <= rt.clock.now():
        raise PasswordExpired(user_id=user.id)
    return Proof(user.id, ("password",))


METHODS: dict[str, Callable[[Runtime[IdentityConfig], Auth], Awaitable[Proof]]] = {
    "password": by_password,
    "token": by_token,
}


def check_reference(identifier: str | None, name: str | None, domain: DomainRef | None, what: str) -> None:
    """400 unless something is named by id, or by name together with a domain."""
    if identifier is not None:
        return
    if name is None:
        raise InvalidInput(reason=f"The {what} needs an id, or a name and a domain.")
    if domain is None or (domain.id is None and domain.name is None):
        raise InvalidInput(reason=f"The {what} is given by name: its domain is needed, by id or name.")


def find_user(tx: Tx, wanted: PasswordUser) -> User | None:
    """The user that a request names."""
    if wanted.id is not None:
        return references.user(tx, wanted.id)
    domain = wanted.domain or DomainRef()
    return references.user_in(tx, wanted.name or "", domain.id, domain.name)


def compliance_of(config: IdentityConfig) -> Compliance:
    """The password rules that the operator set."""
    return Compliance(**{name: getattr(config, name) for name in Compliance.__struct_fields__})


async def check_password(rt: Runtime[IdentityConfig], user: User | None, password: str) -> None:
    """401 unless it is the user's password and they are not locked out. Every 401 is the same and takes as long."""
    rules, now = compliance_of(rt.config), rt.clock.now()
    locked = user is not None and password_rules.is_locked(
        rules, user.options, user.failed_logins, user.last_failed_at, now
    )
    stored = user.password_hash if user is not None and not locked else None
    right = await rt.get(PasswordChecks).is_right(user.id if user else "", stored, password)
    if right and user is not None and rules.lockout_failure_attempts is not None:
        # Guesses sent all at once were all begun before the first failure counted.
        user = await rt.db.read(references.user, user.id)
        locked = user is None or password_rules.is_locked(
            rules, user.options, user.failed_logins, user.last_failed_at, now
        )
    if user is None or locked or not right:
        if user is not None and not locked and rules.lockout_failure_attempts is not None:
            await rt.db.write(_record_failure, user.id, rules, now)
        raise InvalidCredentials()
    if password_rules.is_inactive(rules, user.options, user.last_active_at or user.created_at, now):
        raise InvalidCredentials(detail="inactive for too long")
    if user.failed_logins or _activity_is_old(rules, user, now):
        await rt.db.write(users.update, user.id, {"failed_logins": 0, "last_failed_at": None, "last_active_at": now})


def _activity_is_old(rules: Compliance, user: User, now: datetime) -> bool:
    if rules.disable_user_account_days_inactive is None:
        return False
    return user.last_active_at is None or now - user.last_active_at > ACTIVITY_GRAIN


def _record_failure(tx: Tx, user_id: str, rules: Compliance, now: datetime) -> None:
    user = users.get(tx, user_id)
    if user is None:
        return
    since = user.last_failed_at
    lapsed = since is not None and now - since > timedelta(seconds=rules.lockout_duration_s)
    changes: dict[str, Any] = {"failed_logins": 1 if lapsed else user.failed_logins + 1, "last_failed_at": now}
    users.update(tx, user_id, changes)
