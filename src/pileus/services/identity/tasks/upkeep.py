"""Periodic work: keys are rotated when they are due, revocation events that matter no more are dropped."""

from __future__ import annotations

import asyncio
import logging

from pileus.kernel.process import Runtime
from pileus.services.identity.config import IdentityConfig
from pileus.services.identity.db import revocations
from pileus.services.identity.drivers.tokens.fernet import KeyRepository

log = logging.getLogger(__name__)

UPKEEP_EVERY_S = 600.0


async def start(rt: Runtime[IdentityConfig]) -> None:
    """Run for as long as the node runs."""

    async def work() -> None:
        await rotate_keys_when_due(rt)
        await rt.db.write(revocations.prune)

    rt.every(UPKEEP_EVERY_S, work, name="identity upkeep")


async def rotate_keys_when_due(rt: Runtime[IdentityConfig]) -> bool:
    """Rotate when the primary key is old enough; whether it was."""
    keys = rt.get(KeyRepository)
    if keys.primary_age_s() < rt.config.key_rotation_s:
        return False
    await asyncio.to_thread(keys.rotate)
    log.info("token keys rotated; active: %s", keys.numbers())
    return True
