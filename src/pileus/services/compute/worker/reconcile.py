"""Making what runs agree with the journal: after a restart of the agent or the host, and every few seconds.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from pileus.services.compute.drivers.hypervisor.interface import GuestState
from pileus.services.compute.rpc import GuestEvent, StartServer
from pileus.services.compute.worker import console, disk_room
from pileus.services.compute.worker.agent import ComputeAgent
from pileus.services.compute.worker.build import undo_all
from pileus.services.compute.worker.faults import EXPECTED
from pileus.services.compute.worker.journal import Record

log = logging.getLogger(__name__)


class Reconciliation:
    """Looks after the guests of one agent."""

    def __init__(self, agent: ComputeAgent) -> None:
        self._agent = agent
        self._told: set[str] = set()

    async def recover(self) -> None:
        """Once after `agent.open`: finish or undo interrupted work, start again what the host's restart
        ended."""
        states = await self._states()
        restarts = []
        for record in self._agent.journal.all():
            state = states.get(record.server_id)
            running = state is not None and state.power_state in ("running", "paused")
            powered_itself_off = state is not None and state.clean_stop
            if record.phase == "prepared" and record.desired == "running" and not running and not powered_itself_off:
                restarts.append(self._start_again(record))
        await asyncio.gather(*restarts)
        await self.run()

    async def run(self) -> None:
        """Once round all guests: their state, and the size of their console logs. Servers with work under way are
        left to it. Raises HypervisorError."""
        states = await self._states()
        for record in self._agent.journal.all():
            await asyncio.to_thread(console.bound, self._agent.paths.server(record.server_id).console_log)
            if self._agent.busy(record.server_id):
                continue
            try:
                await self._agent.undisturbed(record.server_id, lambda record=record: self._visit(record))
            except EXPECTED as error:
                log.warning("server %s: %s; next try later", record.server_id, error)
        await self._tell_strangers(states)

    async def tidy(self) -> None:
        """Drop cached images that nobody uses."""
        agent = self._agent
        in_use = {name for record in agent.journal.all() for name in record.cached_names()}
        expired = await asyncio.to_thread(agent.images.expire, in_use, agent.config.image_unused_s)
        if expired:
            log.info("cached images dropped: %s", ", ".join(expired))

    async def _states(self) -> dict[str, GuestState]:
        return {guest.server_id: guest for guest in await self._agent.hypervisor.list_guests()}

    async def _visit(self, record: Record) -> None:
        """Alone with the server: a message for it that comes now waits, and finds what is done here done."""
        if self._agent.journal.get(record.server_id) is record:  # else something was done while we waited
            await self._look_after(record, await self._agent.hypervisor.inspect(record.server_id))

    async def _look_after(self, record: Record, state: GuestState | None) -> None:
        agent = self._agent
        power = state.power_state if state else "absent"
        if record.phase == "destroying":
            await agent.finish_destroy(record.server_id, record.generation, record)
        elif state is None and not agent.paths.server(record.server_id).directory.exists():
            log.warning("server %s: its directory and its guest were removed by somebody else", record.server_id)
            agent.journal.forget(record.server_id)
        elif record.phase == "preparing":
            await undo_all(agent.hooks, agent.build_of(record))
            agent.journal.forget(record.server_id)
        elif record.desired == "running" and power in ("stopped", "crashed", "absent"):
            if not agent.boots.under_way(record.server_id):
                stopped = agent.journal.save(msgspec.structs.replace(record, desired="stopped"))
                await agent.tell_event(stopped, "stopped_by_itself", power)
        elif record.desired == "running" and power == "paused":
            # QEMU pauses a guest whose disk cannot grow, for there to be room later.
            if disk_room.free_bytes(agent.paths.instances) > 0:
                log.info("server %s was paused, and there is room again: it goes on", record.server_id)
                await agent.hypervisor.start(record.server_id)
        elif record.desired == "stopped" and power in ("running", "paused"):
            await agent.hypervisor.power_off(record.server_id)

    async def _start_again(self, record: Record) -> None:
        """Repeat the start that was accepted before; a newer message for the server interrupts it as usual.
        """
        agent = self._agent
        report = await agent.start(StartServer(server_id=record.server_id, generation=record.generation))
        if report.fault is None:
            await agent.tell_event(record, "started", "running")
        elif report.fault.code != "stale_generation":
            log.warning("server %s cannot be started again: %s", record.server_id, report.fault.message)
            stopped = agent.journal.save(msgspec.structs.replace(record, desired="stopped", fault=report.fault))
            await agent.tell_event(stopped, "recovery_failed", "stopped", report.fault)

    async def _tell_strangers(self, states: dict[str, GuestState]) -> None:
        """Report guests of this cloud without a journal, once each; they are never touched unasked."""
        agent = self._agent
        for server_id, state in states.items():
            if agent.journal.get(server_id) is not None or agent.busy(server_id) or server_id in self._told:
                continue
            self._told.add(server_id)
            await agent.notify(
                GuestEvent(
                    host=agent.host, server_id=server_id, generation=state.generation, kind="unknown_guest",
                    power_state=state.power_state,
                )
            )
