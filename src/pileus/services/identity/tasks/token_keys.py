"""The keys of tokens in this process: read from the database when it starts, periodically, and when one is unknown."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime

from pileus.kernel.config import ConfigError
from pileus.kernel.process import Runtime
from pileus.services.identity.config import IdentityConfig
from pileus.services.identity.db import token_keys
from pileus.services.identity.drivers.tokens.fernet import KeyRing, WrongWrapping, files

log = logging.getLogger(__name__)

SECRET = "token-keys"
READ_EVERY_S = 30.0
STAGED_AT_LEAST_S = 2 * READ_EVERY_S
"""A new key is not used for tokens before every process has had the time to read it."""
LOOK_AGAIN_S = 1.0
"""A token with an unknown key, which anybody can make up, has the keys read again at most so often."""


class TokenKeys:
    """`ring` has the keys; the rest keeps it true."""

    def __init__(self, rt: Runtime[IdentityConfig]) -> None:
        self._rt = rt
        self._looked_at = 0.0
        self.ring = KeyRing(rt.node.secret(SECRET))

    async def set_up(self) -> None:
        """Make the cloud's first keys, or take over those of the state directory; read them. Raises ConfigError."""
        directory = self._rt.state_dir / "keys"
        found = await asyncio.to_thread(files.read, directory)
        active = [self.ring.wrap(key) for key in found.active] if found else [self.ring.new_key()]
        staged = self.ring.wrap(found.staged) if found and found.staged else self.ring.new_key()
        since = datetime.fromtimestamp(found.primary_since_s, UTC) if found else None
        await self._rt.db.write(token_keys.set_up, active, staged, since)
        try:
            await self.read()
        except WrongWrapping:
            raise ConfigError(
                "identity's database belongs to a cloud with another cluster key: copy `cluster.key` and `secrets.json`"
                f" from a controller of that cloud to {self._rt.node.config.state_dir}, or join this host to it"
            ) from None
        if await asyncio.to_thread(files.remove, directory):
            log.info("token keys are in identity's database now; their files are removed")

    async def read(self) -> bool:
        """Read all keys; whether there is a new one among them."""
        self._looked_at = time.monotonic()
        found = await self._rt.db.read(token_keys.in_order)
        return self.ring.load(key.wrapped for key in found)

    async def look_again(self) -> bool:
        """Read them because of a token that no key fits, if that was not done just now; whether there is a new one."""
        if time.monotonic() - self._looked_at < LOOK_AGAIN_S:
            return False
        return await self.read()

    async def rotate_when_due(self) -> bool:
        """Rotate when the primary key is old enough; whether it was. Any number of processes may ask."""
        config = self._rt.config
        return await self.rotate(primary_age_s=config.key_rotation_s, staged_age_s=STAGED_AT_LEAST_S)

    async def rotate(self, *, primary_age_s: float = 0.0, staged_age_s: float = 0.0) -> bool:
        """Rotate if both keys are that old, in one transaction; whether it did."""
        done = await self._rt.db.write(
            token_keys.rotate, self.ring.new_key(), primary_age_s=primary_age_s, staged_age_s=staged_age_s,
            keep=self._rt.config.max_active_keys,
        )
        if done:
            await self.read()
            log.info("token keys rotated")
        return done
