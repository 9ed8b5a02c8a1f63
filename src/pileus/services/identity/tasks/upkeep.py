"""Periodic work: keys are rotated when they are due, revocation events that matter no more are dropped."""

from __future__ import annotations

from pileus.kernel.process import Runtime
from pileus.services.identity.config import IdentityConfig
from pileus.services.identity.db import revocations
from pileus.services.identity.tasks.token_keys import TokenKeys

UPKEEP_EVERY_S = 600.0


async def start(rt: Runtime[IdentityConfig]) -> None:
    """Run for as long as the node runs."""

    async def work() -> None:
        await rt.get(TokenKeys).rotate_when_due()
        await rt.db.write(revocations.prune)

    rt.every(UPKEEP_EVERY_S, work, name="identity upkeep")
