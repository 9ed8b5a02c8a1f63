"""Checks and hashes passwords in threads of their own, and remembers for a short while which it found right."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pileus.kernel.errors import Unavailable
from pileus.services.identity.errors import InvalidInput
from pileus.services.identity.logic import password_hash

T = TypeVar("T")

MAX_PASSWORD_BYTES = 4_096
HASH_THREADS = 2
MAX_WAITING = 200
MAX_REMEMBERED = 2_000


def check_length(password: str) -> None:
    """400 for a password so long that hashing it would be an attack."""
    if len(password) > MAX_PASSWORD_BYTES or len(password.encode()) > MAX_PASSWORD_BYTES:
        raise InvalidInput(reason=f"A password has at most {MAX_PASSWORD_BYTES} bytes.")


class PasswordChecks:
    """What it remembers is a keyed digest over user, stored hash and password: with the process, the key is gone; a
    changed password has another hash, so the memory of the old one does not match any more."""

    def __init__(self, *, log2_cost: int, memory_s: float) -> None:
        self._log2_cost = log2_cost
        self._memory_s = memory_s
        self._key = secrets.token_bytes(32)
        self._right_until: OrderedDict[bytes, float] = OrderedDict()
        self._threads = ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="password-hash")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Hash for storing. 400 when it is too long."""
        check_length(password)
        return await self._in_thread(lambda: password_hash.hash_password(password, log2_cost=self._log2_cost))

    async def is_right(self, user_id: str, stored: str | None, password: str) -> bool:
        """Whether it is the user's password. A wrong one takes as long as no user at all (stored None)."""
        if password_hash.matches_random(password, stored):
            return True
        digest = self._digest(user_id, stored or "", password)
        if stored is not None and self._right_until.get(digest, 0.0) > time.monotonic():
            return True
        right = await self._in_thread(
            lambda: password_hash.verify(password, stored, log2_cost=self._log2_cost)
        )
        if right and stored is not None:
            self.remember(user_id, stored, password)
        return right

    def remember(self, user_id: str, stored: str, password: str) -> None:
        """Know for a while that this password is right (it was just verified, or just set)."""
        if self._memory_s <= 0 or password_hash.is_random_kind(stored):
            return
        digest = self._digest(user_id, stored, password)
        self._right_until[digest] = time.monotonic() + self._memory_s
        self._right_until.move_to_end(digest)
        while len(self._right_until) > MAX_REMEMBERED:
            self._right_until.popitem(last=False)

    async def is_among(self, password: str, history: list[str]) -> bool:
        """Whether the password is one of those hashed in a history."""
        for stored in history:
            if await self._in_thread(
                lambda stored=stored: password_hash.verify(password, stored, log2_cost=self._log2_cost)
            ):
                return True
        return False

    def _digest(self, user_id: str, stored: str, password: str) -> bytes:
        parts = (part.encode() for part in (user_id, stored, password))
        content = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, content, hashlib.sha256)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many logins at once; try again.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
