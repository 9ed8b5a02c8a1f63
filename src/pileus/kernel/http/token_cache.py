"""Remembers what identity said of a token, for a short and stated time: the bound within which a revocation takes
effect in every service even if the event that announces it is lost."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from pileus.kernel.bus import Event
from pileus.kernel.context import Clock, Context
from pileus.kernel.errors import Unauthorized

VALID_FOR_S = 5.0
INVALID_FOR_S = 1.0
MAX_TOKENS = 2_000


class TokensRevoked(Event, frozen=True):
    """Some tokens are not valid any more, or mean something else: all that is remembered of tokens must go."""


class TokenCache:
    """Contexts by the hash of their token. Validations of one token under way at once are made once."""

    def __init__(self, validate: Callable[[str], Awaitable[dict[str, Any]]], clock: Clock) -> None:
        self._validate = validate
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Context | None]] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[Context | None]] = {}
        self._clearings = 0

    async def context_of(self, token: str) -> Context:
        """The caller's context. Raises `Unauthorized` for a token that is not valid (any more)."""
        key = hashlib.sha256(token.encode()).digest()
        until, context = self._known.get(key, (0.0, None))
        if time.monotonic() >= until:
            context = await self._once(key, token)
        if context is None:
            raise Unauthorized()
        if context.token_expires_at is not None and context.token_expires_at <= self._clock.now():
            raise Unauthorized()
        return context

    def clear(self) -> None:
        """Forget everything (a token, user or role was revoked)."""
        self._known.clear()
        self._under_way.clear()
        self._clearings += 1

    async def _once(self, key: bytes, token: str) -> Context | None:
        if (running := self._under_way.get(key)) is None:
            running = asyncio.ensure_future(self._ask(key, token))
            self._under_way[key] = running
            running.add_done_callback(lambda done: self._forget_running(key, done))
        return await asyncio.shield(running)

    def _forget_running(self, key: bytes, done: asyncio.Future[Context | None]) -> None:
        if self._under_way.get(key) is done:
            del self._under_way[key]

    async def _ask(self, key: bytes, token: str) -> Context | None:
        clearings = self._clearings
        try:
            context = context_of_token(await self._validate(token))
            until = time.monotonic() + VALID_FOR_S
        except Unauthorized:
            context, until = None, time.monotonic() + INVALID_FOR_S
        if clearings != self._clearings:
            return context  # asked before something was revoked: good for this caller, not for keeping
        self._known[key] = (until, context)
        self._known.move_to_end(key)
        while len(self._known) > MAX_TOKENS:
            self._known.popitem(last=False)
        return context


def context_of_token(token: dict[str, Any]) -> Context:
    """A context from the body of GET /v3/auth/tokens (its `token` object)."""
    user, project, domain = token["user"], token.get("project") or {}, token.get("domain") or {}
    return Context(
        user_id=user["id"],
        user_name=user.get("name"),
        user_domain_id=user["domain"]["id"],
        user_domain_name=user["domain"].get("name"),
        project_id=project.get("id"),
        project_name=project.get("name"),
        project_domain_id=(project.get("domain") or {}).get("id"),
        project_domain_name=(project.get("domain") or {}).get("name"),
        domain_id=domain.get("id"),
        domain_name=domain.get("name"),
        system_scope="all" if token.get("system") else None,
        roles=tuple(role["name"] for role in token.get("roles", ())),
        token_expires_at=msgspec.convert(token["expires_at"], type=datetime),
        audit_ids=tuple(token.get("audit_ids", ())),
    )
