"""What services remember of tokens is gone when something was revoked, also what was being asked just then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pileus.kernel.context import Clock
from pileus.kernel.errors import Unauthorized
from pileus.kernel.http.token_cache import TokenCache

BODY: dict[str, Any] = {
    "user": {"id": "u", "name": "u", "domain": {"id": "default"}}, "expires_at": "2999-01-01T00:00:00.000000Z",
    "roles": [{"name": "member"}],
}


async def test_an_answer_from_before_a_revocation_is_not_kept() -> None:
    revoked = False
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def validate(_token: str) -> dict[str, Any]:
        if revoked:
            raise Unauthorized()
        asked.set()
        await go_on.wait()
        return BODY

    cache = TokenCache(validate, Clock())
    early = asyncio.create_task(cache.context_of("token"))
    await asked.wait()
    revoked = True
    cache.clear()
    with pytest.raises(Unauthorized):
        await cache.context_of("token")
    go_on.set()
    assert (await early).user_id == "u"
    with pytest.raises(Unauthorized):
        await cache.context_of("token")


async def test_one_question_for_many_askers() -> None:
    questions = 0

    async def validate(_token: str) -> dict[str, Any]:
        nonlocal questions
        questions += 1
        await asyncio.sleep(0)
        return BODY

    cache = TokenCache(validate, Clock())
    await asyncio.gather(*(cache.context_of("token") for _ in range(10)))
    assert questions == 1
