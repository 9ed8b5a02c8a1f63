"""Password hashes and the memory of what was verified."""

from __future__ import annotations

import pytest

from pileus.services.identity.api.auth.passwords import MAX_PASSWORD_BYTES, PasswordChecks
from pileus.services.identity.errors import InvalidInput
from pileus.services.identity.logic import password_hash

LOW_COST = 4


def test_hash_and_verify() -> None:
    stored = password_hash.hash_password("secret é", log2_cost=LOW_COST)
    assert stored.startswith("$scrypt$ln=4,r=8,p=1$")
    assert "secret" not in stored
    assert stored != password_hash.hash_password("secret é", log2_cost=LOW_COST), "every hash has its own salt"
    assert password_hash.verify("secret é", stored, log2_cost=LOW_COST)
    for wrong in ("secret", "", "secret é "):
        assert not password_hash.verify(wrong, stored, log2_cost=LOW_COST)


def test_parameters_are_those_of_the_hash() -> None:
    stored = password_hash.hash_password("secret", log2_cost=LOW_COST)
    assert password_hash.verify("secret", stored, log2_cost=LOW_COST + 3)


@pytest.mark.parametrize("stored", [None, "", "$scrypt$", "$scrypt$ln=x,r=8,p=1$a$b", "plain"])
def test_damaged_hashes_match_nothing(stored: str | None) -> None:
    assert not password_hash.verify("", stored, log2_cost=LOW_COST)


def test_random_secrets() -> None:
    stored = password_hash.hash_random_secret("s" * 43)
    assert password_hash.matches_random("s" * 43, stored)
    assert not password_hash.matches_random("t" * 43, stored)
    assert not password_hash.verify("t" * 43, stored, log2_cost=LOW_COST)


async def test_memory_spares_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = PasswordChecks(log2_cost=LOW_COST, memory_s=60)
    hashed = []
    real = password_hash.verify
    monkeypatch.setattr(password_hash, "verify", lambda *a, **k: hashed.append(a) or real(*a, **k))
    stored = await checks.hash("secret")
    assert await checks.is_right("u", stored, "secret")
    assert await checks.is_right("u", stored, "secret")
    assert len(hashed) == 1
    assert not await checks.is_right("u", stored, "wrong")
    assert not await checks.is_right("u", stored, "wrong")
    assert len(hashed) == 3, "failures are never remembered"
    assert await checks.is_right("other", stored, "secret")
    assert len(hashed) == 4, "the memory is per user"
    assert not await checks.is_right("u", None, "secret")
    changed = await checks.hash("changed")
    assert not await checks.is_right("u", changed, "secret")


async def test_no_memory_when_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = PasswordChecks(log2_cost=LOW_COST, memory_s=0)
    stored = await checks.hash("secret")
    hashed = []
    real = password_hash.verify
    monkeypatch.setattr(password_hash, "verify", lambda *a, **k: hashed.append(a) or real(*a, **k))
    for _ in range(2):
        assert await checks.is_right("u", stored, "secret")
    assert len(hashed) == 2


async def test_length_is_bounded_in_bytes() -> None:
    checks = PasswordChecks(log2_cost=LOW_COST, memory_s=0)
    assert await checks.hash("é" * (MAX_PASSWORD_BYTES // 2))
    with pytest.raises(InvalidInput):
        await checks.hash("é" * (MAX_PASSWORD_BYTES // 2 + 1))
