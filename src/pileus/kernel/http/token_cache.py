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
from pileus.kernel.http.shared_cache import Entry, SharedTokens

VALID_FOR_S = 5.0
INVALID_FOR_S = 1.0
MAX_TOKENS = 2_000
GENERATION = "generation"
"""In the body of an answer, and in the name of the header that brings it: see `TokensRevoked`."""
GENERATION_HEADER = "x-pileus-token-generation"


class TokensRevoked(Event, frozen=True):
    """Some tokens are not valid any more, or mean something else: all that is remembered of tokens must go.

    generation: identity's number of this change. An answer of identity carries the number of the last change that it
    has taken into account; what has a lower number than this must not be used, wherever it comes from.
    """

    generation: int = 0


class TokenCache:
    """Contexts by the hash of their token. Validations of one token under way at once are made once."""

    def __init__(
        self, validate: Callable[[str], Awaitable[dict[str, Any]]], clock: Clock, shared: SharedTokens | None = None
    ) -> None:
        self._validate = validate
        self._clock = clock
        self._shared = shared
        self._generation: int | None = None  # not known before identity has been asked, or has said so
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

    def clear(self, generation: int = 0) -> None:
        """Forget everything (a token, user or role was revoked). generation: the change's number, if it is known."""
        self._generation = max(self._generation or 0, generation) or None
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
        if (found := await self._from_others(token)) is not None and clearings == self._clearings:
            self._keep(key, *found)
            return found[1]
        clearings = self._clearings
        asked_at, until = self._clock.now().timestamp(), time.monotonic() + VALID_FOR_S
        try:
            body = await self._validate(token)
        except Unauthorized:
            if clearings == self._clearings:
                self._keep(key, time.monotonic() + INVALID_FOR_S, None)
            return None
        context, generation = context_of_token(body), int(body.get(GENERATION, 0))
        if clearings != self._clearings or not self._is_current(generation):
            return context  # asked before something was revoked: good for this caller, not for keeping
        self._keep(key, until, context)
        if self._shared is not None and generation:
            self._shared.put(token, Entry(context, generation, asked_at))
        return context

    async def _from_others(self, token: str) -> tuple[float, Context] | None:
        """What another process knows: until when, and what. Who does not know the generation asks identity first."""
        if self._shared is None or self._generation is None:
            return None
        found = await self._shared.get(token)
        if found is None or not self._is_current(found[0].generation):
            return None
        return time.monotonic() + found[1], found[0].context

    def _is_current(self, generation: int) -> bool:
        """Whether an answer with that number takes all into account that is known to be revoked."""
        known = self._generation
        if known is None or generation > known:
            if known is not None:
                self._known.clear()  # something was revoked, and we have not heard of it
            self._generation = generation or known
        return generation >= (known or 0)

    def _keep(self, key: bytes, until: float, context: Context | None) -> None:
        self._known[key] = (until, context)
        self._known.move_to_end(key)
        while len(self._known) > MAX_TOKENS:
            self._known.popitem(last=False)


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
