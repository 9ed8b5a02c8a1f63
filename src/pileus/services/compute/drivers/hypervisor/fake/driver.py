"""Guests that are only remembered. Same contract as the real drivers; for tests, simulation and 200-server
days.

A fake guest writes one line to its console log when it starts, so that what waits for a console sees one.
With `state_file` guests survive the object, as real ones survive the agent.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from pileus.services.compute.drivers.hypervisor.interface import (
    GuestDefinition,
    GuestNotFound,
    GuestState,
    HostFacts,
    HypervisorError,
    instance_name,
)
from pileus.services.compute.rpc import Acceleration, CpuInfo


class _Guest(msgspec.Struct):
    generation: int
    console_log: str
    running: bool = False
    crashed: bool = False
    clean_stop: bool = False


class FakeHypervisor:
    """See `interface.Hypervisor`.

    Knobs for tests: `fail_starts` makes that many starts fail, `silent_starts` makes that many starts write
    no console line, `ignores_power_button` makes guests deaf, `latency_s` delays every call.
    """

    def __init__(
        self, *, vcpus: int = 64, ram_mib: int = 262_144, state_file: Path | None = None,
        latency_s: float = 0.0,
    ) -> None:
        self.vcpus = vcpus
        self.ram_mib = ram_mib
        self.latency_s = latency_s
        self.fail_starts = 0
        self.silent_starts = 0
        self.ignores_power_button = False
        self.starts = 0
        self._state_file = state_file
        self._guests: dict[str, _Guest] = {}

    async def open(self) -> None:
        if self._state_file is not None and self._state_file.exists():
            for line in self._state_file.read_bytes().splitlines():
                for server_id, guest in msgspec.json.decode(line, type=dict[str, _Guest | None]).items():
                    if guest is None:
                        self._guests.pop(server_id, None)
                    else:
                        self._guests[server_id] = guest

    async def close(self) -> None:
        if self._state_file is not None:
            self._state_file.write_bytes(msgspec.json.encode(self._guests) + b"\n")

    async def host_facts(self) -> HostFacts:
        await self._delay()
        cpu = CpuInfo(arch="x86_64", model="fake", vendor="fake", sockets=1, cores=self.vcpus, threads=1)
        reason = "no guest really runs"
        return HostFacts("fake", 1_000_000, self.vcpus, self.ram_mib, cpu, Acceleration("none", reason))

    async def define(self, guest: GuestDefinition) -> GuestState:
        await self._delay()
        known = self._guests.get(guest.server_id)
        if known is None:
            self._guests[guest.server_id] = _Guest(guest.generation, str(guest.console_log))
        else:
            known.generation, known.console_log = guest.generation, str(guest.console_log)
        self._save(guest.server_id)
        return self._state(guest.server_id)

    async def start(self, server_id: str) -> GuestState:
        await self._delay()
        guest = self._guest(server_id)
        if guest.running:
            return self._state(server_id)
        if self.fail_starts > 0:
            self.fail_starts -= 1
            raise HypervisorError("the fake hypervisor was told to fail this start")
        self.starts += 1
        guest.running, guest.crashed, guest.clean_stop = True, False, False
        if self.silent_starts > 0:
            self.silent_starts -= 1
        else:
            with open(guest.console_log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as console:
                console.write(b"fake guest running\n")
        self._save(server_id)
        return self._state(server_id)

    async def press_power_button(self, server_id: str) -> None:
        await self._delay()
        if not self.ignores_power_button:
            self._stop(server_id)

    async def power_off(self, server_id: str) -> None:
        await self._delay()
        self._stop(server_id)

    async def undefine(self, server_id: str) -> None:
        await self._delay()
        self._guests.pop(server_id, None)
        self._save(server_id)

    async def inspect(self, server_id: str) -> GuestState | None:
        await self._delay()
        return self._state(server_id) if server_id in self._guests else None

    async def list_guests(self) -> tuple[GuestState, ...]:
        await self._delay()
        return tuple(self._state(server_id) for server_id in self._guests)

    def guest_powers_itself_off(self, server_id: str) -> None:
        """What a guest does on its own: `poweroff` inside it."""
        self._stop(server_id)

    def guest_crashes(self, server_id: str) -> None:
        """The guest's process dies."""
        guest = self._guest(server_id)
        guest.running, guest.crashed = False, True
        self._save(server_id)

    def lose_power(self) -> None:
        """What a host restart does to all guests."""
        for guest in self._guests.values():
            guest.running = False
        self._save(*self._guests)

    async def _delay(self) -> None:
        await asyncio.sleep(self.latency_s)

    def _guest(self, server_id: str) -> _Guest:
        if server_id not in self._guests:
            raise GuestNotFound(f"no guest {server_id}")
        return self._guests[server_id]

    def _stop(self, server_id: str) -> None:
        guest = self._guest(server_id)
        guest.clean_stop = guest.clean_stop or guest.running
        guest.running = False
        self._save(server_id)

    def _state(self, server_id: str) -> GuestState:
        guest = self._guests[server_id]
        power = "running" if guest.running else "crashed" if guest.crashed else "stopped"
        return GuestState(server_id, instance_name(server_id), guest.generation, power, guest.clean_stop)

    def _save(self, *server_ids: str) -> None:
        """Append how these guests are now (null: gone); rewriting all with every change would cost the more, the
        more guests there are."""
        if self._state_file is not None:
            with self._state_file.open("ab") as file:
                file.write(msgspec.json.encode({name: self._guests.get(name) for name in server_ids}) + b"\n")
