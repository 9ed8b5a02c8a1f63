"""The tokens of this cloud: made, opened, validated, and what is remembered of them dropped when something changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from pileus.kernel.context import Context
from pileus.kernel.db import Tx
from pileus.kernel.errors import Unauthorized
from pileus.kernel.http.token_cache import TokenCache, TokensRevoked
from pileus.kernel.process import Runtime
from pileus.services.identity.api.auth import view
from pileus.services.identity.config import IdentityConfig
from pileus.services.identity.db import revocations, tokens
from pileus.services.identity.db.tokens import TokenDetails
from pileus.services.identity.drivers.tokens.interface import InvalidToken, Sealer
from pileus.services.identity.logic import token_payload
from pileus.services.identity.logic.token_payload import TokenPayload

P = ParamSpec("P")
R = TypeVar("R")


class Tokens:
    """Seals and opens tokens; validates them against the database."""

    def __init__(
        self, rt: Runtime[IdentityConfig], sealer: Sealer, look_again: Callable[[], Awaitable[bool]]
    ) -> None:
        """look_again: reads the sealer's keys anew; whether there is one that it did not have."""
        self._rt = rt
        self._sealer = sealer
        self._look_again = look_again
        self.cache = TokenCache(self._body_of, rt.clock)

    def seal(self, payload: TokenPayload) -> str:
        """The token with this content."""
        return self._sealer.seal(token_payload.pack(payload))

    async def open(self, token: str, *, allow_expired: bool = False) -> TokenPayload | None:
        """What a token carries; None when it is not ours or expired.

        allow_expired: also one that expired within the configured window, for work that was begun in time.
        """
        try:
            payload = token_payload.unpack(await self._unseal(token))
        except (InvalidToken, token_payload.MalformedPayload):
            return None
        window_s = self._rt.config.allow_expired_window_s if allow_expired else 0
        return payload if self._rt.clock.now() < payload.expires_at + timedelta(seconds=window_s) else None

    async def _unseal(self, token: str) -> bytes:
        try:
            return self._sealer.unseal(token)
        except InvalidToken:
            if not await self._look_again():
                raise
            return self._sealer.unseal(token)

    async def validate(self, token: str, *, allow_expired: bool = False) -> TokenDetails | None:
        """What a token means now; None when it is not valid."""
        payload = await self.open(token, allow_expired=allow_expired)
        return None if payload is None else await self._rt.db.read(tokens.details, payload)

    async def validate_numbered(self, token: str, *, allow_expired: bool = False) -> tuple[TokenDetails | None, int]:
        """The same, with the number of the last revocation that it takes into account (see `TokensRevoked`)."""
        payload = await self.open(token, allow_expired=allow_expired)
        return (None, 0) if payload is None else await self._rt.db.read(_numbered, payload)

    async def context_of(self, token: str) -> Context:
        """The caller's context, for identity's own API. Raises `Unauthorized`."""
        return await self.cache.context_of(token)

    async def _body_of(self, token: str) -> dict[str, Any]:
        found = await self.validate(token)
        if found is None:
            raise Unauthorized()
        return view.token_body(found)


def revocation_kept_s(config: IdentityConfig) -> float:
    """How long a revocation event matters: as long as a token issued just before it could still be shown."""
    return float(config.token_lifetime_s + config.allow_expired_window_s)


async def authenticate(rt: Runtime[IdentityConfig], token: str) -> Context:
    """The manifest's check of a caller's token."""
    return await rt.get(Tokens).context_of(token)


async def write_and_revoke(
    rt: Runtime[IdentityConfig], fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """A transaction that can change what tokens mean: afterwards nobody remembers anything of any token."""

    def change(tx: Tx) -> tuple[R, int]:
        return fn(tx, *args, **kwargs), revocations.forget_remembered(tx)

    result, generation = await rt.db.write(change)
    rt.get(Tokens).cache.clear()
    await rt.bus.publish(TokensRevoked(generation=generation))
    return result


def _numbered(tx: Tx, payload: TokenPayload) -> tuple[TokenDetails | None, int]:
    """Both of one state of the database."""
    return tokens.details(tx, payload), revocations.generation(tx)
