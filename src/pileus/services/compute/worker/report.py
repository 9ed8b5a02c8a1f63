"""What the host tells about itself."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pileus.services.compute.rpc import GuestSummary, HostReport

if TYPE_CHECKING:
    from pileus.services.compute.worker.agent import ComputeAgent

GIB = 2**30


class HostReporter:
    """Composes `HostReport`s of one agent."""

    def __init__(self, agent: ComputeAgent) -> None:
        self._agent = agent
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._sequence = 0

    async def guests(self) -> tuple[GuestSummary, ...]:
        """Every guest of this cloud: those in the journal with what the hypervisor says, then strangers."""
        states = {guest.server_id: guest for guest in await self._agent.hypervisor.list_guests()}
        found = []
        for record in self._agent.journal.all():
            state = states.pop(record.server_id, None)
            power = state.power_state if state else "absent"
            name = state.instance_name if state else ""
            found.append(GuestSummary(record.server_id, record.generation, power, True, name))
        strangers = (
            GuestSummary(state.server_id, state.generation, state.power_state, False, state.instance_name)
            for state in states.values()
        )
        return (*found, *strangers)

    async def report(self) -> HostReport:
        """The heartbeat. Raises HypervisorError."""
        agent = self._agent
        facts = await agent.hypervisor.host_facts()
        disk = await asyncio.to_thread(os.statvfs, agent.paths.instances)
        self._sequence += 1
        return HostReport(
            host=agent.host, hypervisor_hostname=agent.host, host_ip=agent.config.host_ip,
            hypervisor_type=facts.hypervisor_type, hypervisor_version=facts.hypervisor_version, vcpus=facts.vcpus,
            ram_mib=facts.ram_mib, disk_gib=disk.f_blocks * disk.f_frsize // GIB,
            disk_free_gib=disk.f_bavail * disk.f_frsize // GIB, ram_free_mib=_free_ram_mib(), cpu=facts.cpu,
            acceleration=facts.acceleration, guests=await self.guests(), images_cached=agent.images.names(),
            started_at=self._started_at, sequence=self._sequence,
        )


def _free_ram_mib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0
