"""The loop all network agents share: fetch desired state, converge, report, beat.

It wakes on a doorbell, on a change of the host, and by time. Fetching, converging and reporting fail independently:
without the server the agent keeps its host as last told; with a broken item it reports the item and goes on. It beats
beside all that, so that a host whose tools hang is not taken for a dead one, and a beat says what is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from pileus.kernel import context as ctx
from pileus.kernel.context import Context
from pileus.kernel.host.command import CommandError
from pileus.kernel.tasks import Reconciler
from pileus.services.network.rpc import AgentHeartbeat, AgentType, ReportAccepted

from . import changes
from .journal import Journal
from .server import NetworkServer, ServerUnreachable

MAX_FAULTS_SHOWN = 10
log = logging.getLogger(__name__)


class AgentSettings(Struct, frozen=True, kw_only=True):
    """Times in seconds. `state_dir` keeps the journals."""

    host: str
    state_dir: str
    reconcile_interval_s: float = 10.0
    full_report_interval_s: float = 60.0
    heartbeat_interval_s: float = 10.0
    settle_s: float = 0.02  # host changes come in bursts: wait this long for the rest
    max_settle_s: float = 0.3  # a round that takes long (much to do) is followed by a pause as long, up to this
    retry_s: float = 1.0  # after a failure, instead of the reconcile interval


class DesiredState(Protocol):
    """What every desired state has."""

    @property
    def generation(self) -> int: ...


State = TypeVar("State", bound=DesiredState)
Report = TypeVar("Report")


class Agent(ABC, Generic[State, Report]):
    """One agent of one host. `run` until cancelled; `ring` is the doorbell."""

    agent_type: AgentType
    binary: str
    description: str
    state_type: type[State]

    def __init__(
        self,
        settings: AgentSettings,
        server: NetworkServer,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.server = server
        self.state: State | None = None
        self._last: State | None = None  # what an earlier process was told
        self.converged_generation: int | None = None
        self._journal = Journal(Path(settings.state_dir) / f"network-{self.agent_type}.json", self.state_type)
        self._started_at = clock().isoformat()
        self._reconciler = Reconciler(
            f"network {self.agent_type} agent",
            self._round,
            every_s=settings.reconcile_interval_s,
            settle_s=settings.settle_s,
        )
        self._heart = Reconciler(
            f"network {self.agent_type} agent's heartbeat", self._beat, every_s=settings.heartbeat_interval_s
        )
        #: what cannot be made right now, in words for operators; keys: "agent", or what the item's report is about
        self.faults: dict[str, str] = {}
        self._driver_started = False
        self._must_fetch = True
        self._causes: dict[str, Context] = {}
        self._reported: dict[str, Report] = {}
        self._reported_generation: int | None = None
        self._next_fetch = self._next_full_report = 0.0
        self._first_beat = True

    # what a kind of agent adds

    @abstractmethod
    async def start_driver(self, changed: Callable[[], None], last: State | None) -> None: ...

    @abstractmethod
    async def close_driver(self) -> None: ...

    @abstractmethod
    async def fetch(self) -> State: ...

    @abstractmethod
    async def apply(self, state: State) -> dict[str, Report]: ...

    @abstractmethod
    async def send(self, generation: int, reports: tuple[Report, ...]) -> ReportAccepted: ...

    @abstractmethod
    def fault_of(self, report: Report) -> str:
        """Why the report's item is not right; "" if it is."""

    @abstractmethod
    def configurations(self) -> dict[str, Any]: ...

    @abstractmethod
    def resource_counts(self, state: State) -> dict[str, int]: ...

    # the loop

    def ring(self) -> None:
        """The doorbell: fetch and converge now."""
        if (here := ctx.current()).request_id:
            self._causes[here.request_id] = here
        self._must_fetch = True
        self._reconciler.ring()

    async def run(self) -> None:
        """Until cancelled. What serves guests stays on the host afterwards."""
        self.state = self._last = self._journal.read()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reconciler.run_forever())
                group.create_task(self._heart.run_forever())
        finally:
            if self._driver_started:
                await self.close_driver()

    async def _round(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        started = await self._start_driver()
        fetched = await self._fetch_if_due(now)
        converged = started and await self._converge(now)
        took = loop.time() - now
        self._reconciler.settle_s = max(self.settings.settle_s, min(took, self.settings.max_settle_s))
        if not (fetched and converged):
            loop.call_later(self.settings.retry_s, self._reconciler.ring)

    async def _start_driver(self) -> bool:
        if self._driver_started:
            return True
        try:
            await self.start_driver(self._reconciler.ring, self._last)
        except (CommandError, OSError) as error:
            log.error("%s agent: this host is not fit for it: %s", self.agent_type, error)
            self._set_faults({"agent": str(error)})
            return False
        self._driver_started = True
        return True

    def _set_faults(self, faults: dict[str, str]) -> None:
        if faults != self.faults:
            self.faults = faults
            self._heart.ring()

    async def _fetch_if_due(self, now: float) -> bool:
        if not self._must_fetch and now < self._next_fetch:
            return True
        self._must_fetch = False
        try:
            state = await self.fetch()
        except ServerUnreachable as error:
            log.warning("%s agent: desired state not fetched: %s", self.agent_type, error)
            self._must_fetch = True
            return False
        self._next_fetch = now + self.settings.reconcile_interval_s
        if self.state is not None and state.generation < self.state.generation:
            log.warning("%s agent: answer of generation %d is older than ours", self.agent_type, state.generation)
            return True
        if state != self.state:
            self.state = state
            self._write_journal(state)
        return True

    def _write_journal(self, state: State) -> None:
        try:
            self._journal.write(state)
        except OSError as error:  # a full disk: the host is kept all the same, and the server knows everything
            log.error("%s agent: its journal is not written: %s", self.agent_type, error)

    async def _converge(self, now: float) -> bool:
        state, began = self.state, time.perf_counter()
        if state is None:
            return True
        try:
            reports = await self.apply(state)
        except (CommandError, OSError, ValueError) as error:
            log.warning("%s agent: not converged: %s", self.agent_type, error)
            self._set_faults({"agent": str(error)})
            return False
        self._set_faults({key: reason for key, report in reports.items() if (reason := self.fault_of(report))})
        if self.converged_generation is not None:  # after a start everything is news, and nothing is
            changes.record(self.agent_type, began, self._reported, reports)
        self.converged_generation = state.generation
        return await self._report(state.generation, reports, now)

    async def _report(self, generation: int, reports: dict[str, Report], now: float) -> bool:
        full = generation != self._reported_generation or now >= self._next_full_report
        changed = tuple(
            report for key, report in reports.items() if full or self._reported.get(key) != report
        )
        if changed:
            try:
                accepted = await self.send(generation, changed)
            except ServerUnreachable as error:
                log.warning("%s agent: report not delivered: %s", self.agent_type, error)
                return False
            self._notice(accepted)
        if full:
            self._next_full_report = now + self.settings.full_report_interval_s
        self._reported, self._reported_generation = reports, generation
        return True

    def _notice(self, accepted: ReportAccepted) -> None:
        """The server's answer names its newest generation: a higher one means a lost doorbell."""
        if self.state is not None and accepted.generation > self.state.generation:
            self.ring()

    async def _beat(self) -> None:
        shown = {key: self.faults[key] for key in sorted(self.faults)[:MAX_FAULTS_SHOWN]}
        beat = AgentHeartbeat(
            host=self.settings.host,
            agent_type=self.agent_type,
            binary=self.binary,
            description=self.description,
            started_at=self._started_at,
            configurations=self.configurations() | ({"faults": shown} if shown else {}),
            resource_counts=self.resource_counts(self.state) if self.state is not None else {},
            fresh_start=self._first_beat,
        )
        try:
            self._notice(await self.server.heartbeat(beat))
        except ServerUnreachable as error:
            log.warning("%s agent: heartbeat not delivered: %s", self.agent_type, error)
            asyncio.get_running_loop().call_later(self.settings.retry_s, self._heart.ring)
            return
        self._first_beat = False
