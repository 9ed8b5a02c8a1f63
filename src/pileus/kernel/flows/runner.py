"""Runs flows: takes those that are due, keeps its leases on them, and resumes what a dead runner left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from pileus.kernel.db import DatabaseUnavailable
from pileus.kernel.flows.definition import Flow
from pileus.kernel.flows.doorbell import FlowsDue
from pileus.kernel.flows.execution import Execution
from pileus.kernel.flows.store import FlowStore
from pileus.kernel.flows.tables import FlowRow, Lease, LeaseLost
from pileus.kernel.tasks import Reconciler

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

log = logging.getLogger(__name__)

POLL_S = 5.0
LEASE_S = 30.0
MAX_CONCURRENT = 32
AFTER_ERROR_S = 30.0
AFTER_OUTAGE_S = 1.0
AFTER_UNREADABLE_S = 300.0
RELEASE_TIMEOUT_S = 2.0
KEEP_ENDED_DAYS = 30
PRUNE_BATCH = 1_000
HOUSEKEEPING_S = 3_600.0
LOOK_FOR_UNKNOWN_S = 60.0


class FlowRunner:
    """A conductor's engine. Several may share a database: each has an `owner` name of its own.

    A restarted runner of the same name takes over its own leases at once; those of another one when they have run out,
    `lease_s` after its death. Clocks of the hosts should agree within that; if they do not, two may run the same step
    at the same time, but only one of them can write it down (see `leases`).
    """

    def __init__(
        self, rt: Runtime[Any], store: FlowStore | None = None, flows: Iterable[Flow] | None = None, *, owner: str,
        concurrency: int = MAX_CONCURRENT, lease_s: float = LEASE_S,
    ) -> None:
        store = store or rt.service.flow_store
        if store is None:
            raise ValueError(f"{rt.service.type} has no flow store")
        self.rt = rt
        self.store = store
        self.owner = owner
        self.concurrency = concurrency
        self.lease_s = lease_s
        self._flows = _by_kind(rt.service.flows if flows is None else flows)
        self._took_over = False
        self._running: dict[str, tuple[asyncio.Task[None], Lease]] = {}
        self._executions: dict[str, Execution] = {}
        self._poll = Reconciler(f"{rt.service.type} flows", self._take_due, every_s=POLL_S)
        self._told_unknown: set[tuple[str, int]] = set()

    async def run_forever(self) -> None:
        """Loop until cancelled. Steps under way are abandoned then; the journal says where to go on."""
        helpers = [
            asyncio.create_task(self._keep_leases()),
            asyncio.create_task(Reconciler("flow pruning", self._prune, every_s=HOUSEKEEPING_S).run_forever()),
            asyncio.create_task(
                Reconciler("unknown flows", self._tell_unknown, every_s=LOOK_FOR_UNKNOWN_S).run_forever()
            ),
        ]
        unring = self.store.on_start(self._poll.ring)
        unsubscribe = self.rt.bus.subscribe(FlowsDue, self._told)
        self._took_over = False
        try:
            await self._poll.run_forever()
        finally:
            unring()
            unsubscribe()
            tasks = [*helpers, *(task for task, _ in self._running.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._release()

    def ring(self) -> None:
        """Something may be due."""
        self._poll.ring()

    async def _told(self, event: FlowsDue) -> None:
        if event.service == self.rt.service.type:
            self._poll.ring()

    # -- taking flows --------------------------------------------------------------------------------------------

    async def _take_due(self) -> None:
        if not self._took_over:  # from a runner of this name that died
            await self.rt.db.write(self.store.release_all, self.owner)
            self._took_over = True
        await self._deliver_cancels()
        room = self.concurrency - len(self._running)
        if room <= 0 or not self._flows:
            return
        rows = await self.rt.db.write(
            self.store.claim, self.owner, self.lease_s, room, tuple(self._flows), tuple(self._running)
        )
        for row in rows:
            task = asyncio.create_task(self._run(row), name=f"flow {row.name} {row.id}")
            self._running[row.id] = (task, row.lease)
            task.add_done_callback(lambda _, flow_id=row.id: self._ended(flow_id))

    def _ended(self, flow_id: str) -> None:
        self._running.pop(flow_id, None)
        self._executions.pop(flow_id, None)
        self._poll.ring()

    async def _deliver_cancels(self) -> None:
        if self._running:
            for flow_id in await self.rt.db.read(self.store.cancelled, list(self._running)):
                if (execution := self._executions.get(flow_id)) is not None:
                    execution.cancelled.set()

    async def _run(self, row: FlowRow) -> None:
        try:
            flow = self._flows[row.name, row.version]
            execution = self._executions[row.id] = Execution(self.rt, self.store, flow, row, self._wake_in)
            await execution.run()
        except LeaseLost:
            log.warning("flow %s %s has gone to another runner; this one leaves it", row.name, row.id)
        except msgspec.MsgspecError as error:
            log.error("data of flow %s version %d %s cannot be read: %s", row.name, row.version, row.id, error)
            await self._hand_back(row, AFTER_UNREADABLE_S)
        except DatabaseUnavailable as error:
            log.warning("flow %s %s waits for the database: %s", row.name, row.id, error)
            await self._hand_back(row, AFTER_OUTAGE_S)
        except Exception:  # a kernel loop: the flow is taken again
            log.exception("flow %s %s stopped unexpectedly", row.name, row.id)
            await self._hand_back(row, AFTER_ERROR_S)

    async def _hand_back(self, row: FlowRow, pause_s: float) -> None:
        """Let it be claimed again after a pause. While the database is away this is tried until the lease is over:
        from then on anybody takes the flow anyway."""
        lease_ends = time.monotonic() + self.lease_s
        while True:
            again_at = self.rt.clock.now() + timedelta(seconds=pause_s)
            try:
                await self.rt.db.write(self.store.hand_back, row.id, row.lease, again_at)
                self._wake_in(pause_s)
                return
            except Exception as error:  # a kernel loop: the lease runs out in the end
                if not isinstance(error, DatabaseUnavailable) or time.monotonic() > lease_ends:
                    log.warning("flow %s %s could not be handed back: %r", row.name, row.id, error)
                    return
            await asyncio.sleep(AFTER_OUTAGE_S)

    def _wake_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._poll.ring)

    # -- leases --------------------------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self.lease_s / 3)
            held = {flow_id: lease for flow_id, (_, lease) in self._running.items()}
            try:
                lost = await self.rt.db.write(self.store.renew, held, self.lease_s) if held else []
                renewed = time.monotonic()
            except Exception:  # a kernel loop: the next renewal is the retry
                log.exception("renewing leases failed")
                lost = list(held) if time.monotonic() - renewed > self.lease_s else []
            for flow_id in lost:
                self._abandon(flow_id, held[flow_id])

    def _abandon(self, flow_id: str, lease: Lease) -> None:
        """Stop working on a flow that is somebody else's now, or has just ended."""
        task, present = self._running.get(flow_id, (None, None))
        if task is not None and present == lease:
            log.warning("the lease on flow %s is lost; this runner leaves it", flow_id)
            task.cancel()

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self.rt.db.write(self.store.release_all, self.owner)
        except Exception as error:  # the runner ends: the leases run out by themselves
            log.warning("leases of %s could not be released: %r", self.owner, error)

    # -- housekeeping --------------------------------------------------------------------------------------------

    async def _prune(self) -> None:
        before = self.rt.clock.now() - timedelta(days=KEEP_ENDED_DAYS)
        while await self.rt.db.write(self.store.prune, before, PRUNE_BATCH) == PRUNE_BATCH:
            pass

    async def _tell_unknown(self) -> None:
        for flow in await self.rt.db.read(self.store.unknown, tuple(self._flows)):
            if (flow.name, flow.version) not in self._told_unknown:
                self._told_unknown.add((flow.name, flow.version))
                log.error(
                    "flow %s version %d (%s of %s) is not known here; it waits for a runner that knows it",
                    flow.name, flow.version, flow.id, flow.resource_id,
                )


def _by_kind(flows: Iterable[Flow]) -> dict[tuple[str, int], Flow]:
    found: dict[tuple[str, int], Flow] = {}
    for flow in flows:
        if found.setdefault((flow.name, flow.version), flow) is not flow:
            raise ValueError(f"two flows are called {flow.name} version {flow.version}")
    return found
