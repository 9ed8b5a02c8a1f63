"""An agent on a real libvirtd whose guests are bare: an emulator that runs nothing but hangs at its first instruction.

They start in half a second and are as good as any other guest for what hangs outside them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from pileus.kernel.bus.messages import Message
from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor
from pileus.services.compute.rpc import DestroyServer, FlavorFacts, ImageRef, Nic, PrepareServer, ServerSpec
from pileus.services.compute.worker.agent import ComputeAgent
from pileus.services.compute.worker.config import AgentConfig
from tests.scenario.compute_host.private_host import processes_with

HANGING_SECTOR = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt; jmp
# Writes 32 KiB to every 64 KiB of the disk from 1 MiB on, for ever, with the BIOS's extended write (packet at 64).
_WRITE_ON = bytes.fromhex("31c08ed88ed0bc007cbe407cb80043b280cd13668106487c80000000ebeb")
_PACKET = bytes.fromhex("10004000007c00000008000000000000")
WRITING_SECTOR = (_WRITE_ON.ljust(64, b"\0") + _PACKET).ljust(510, b"\0") + b"\x55\xaa"
DISK_BYTES = 2**20


class BareHost:
    """One agent and how to see what it leaves."""

    def __init__(self, directory: Path, hypervisor: LibvirtHypervisor) -> None:
        self.told: list[Message] = []
        self.hypervisor = hypervisor
        self.sector = HANGING_SECTOR
        self.image = ImageRef(str(uuid.uuid4()), "raw", DISK_BYTES, properties={"pileus_silent_boot_s": "0"})
        self.agent = ComputeAgent(
            host="h1", cloud="scenario", directory=directory, hypervisor=hypervisor, images=self._bytes,
            notify=self._note, config=AgentConfig(start_slots=32),
        )

    async def _bytes(self, image: ImageRef) -> AsyncIterator[bytes]:
        yield self.sector.ljust(DISK_BYTES, b"\0")

    async def _note(self, message: Message) -> None:
        self.told.append(message)

    def new_spec(self, tap: str, *, root_gib: int = 0) -> ServerSpec:
        server_id = str(uuid.uuid4())
        nics = (Nic(str(uuid.uuid4()), f"fa:16:3e:{server_id[:2]}:{server_id[2:4]}:01", tap),)
        return ServerSpec(server_id, "bare", "p" * 32, FlavorFacts(1, 32, root_gib), self.image, nics=nics)

    async def prepared(self, tap: str) -> str:
        """A new server, not started."""
        spec = self.new_spec(tap)
        report = await self.agent.prepare(PrepareServer(generation=1, spec=spec))
        assert report.fault is None, report.fault
        return spec.server_id

    def emulator(self, server_id: str) -> int:
        """The pid of the server's QEMU."""
        (pid,) = processes_with(f"-uuid {server_id}")
        return pid

    async def nothing_is_left(self, server_id: str, tap: str) -> None:
        """No process, definition, files or tap."""
        assert processes_with(server_id) == []
        assert await self.hypervisor.inspect(server_id) is None
        assert not self.agent.paths.server(server_id).directory.exists()
        assert not Path(f"/sys/class/net/{tap}").exists()

    async def destroy_all(self) -> None:
        for record in self.agent.journal.all():
            await self.agent.destroy(DestroyServer(server_id=record.server_id, generation=10_000))


class Heartbeat:
    """Watches that the event loop goes on meanwhile: `longest_s` is its longest standstill."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def __aenter__(self) -> Heartbeat:
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            self.longest_s = max(self.longest_s, time.monotonic() - before)


class Stopped:
    """A process that is stopped (SIGSTOP) meanwhile."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> int:
        os.kill(self._pid, signal.SIGSTOP)
        return self._pid

    def __exit__(self, *_: object) -> None:
        try:
            os.kill(self._pid, signal.SIGCONT)
        except ProcessLookupError:
            return


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.05)
