"""What runs on this host for the cloud's servers: the hypervisor's guests, and QEMU's processes by their disks.

The hypervisor is only asked, never started: verify changes nothing.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec

CALL_TIMEOUT_S = 30.0


class GuestRecord(msgspec.Struct, frozen=True):
    """A guest that the hypervisor knows as this cloud's. is_active: it has a process, running or paused."""

    server_id: str
    name: str
    is_active: bool


async def read_guests(cloud: str) -> dict[str, GuestRecord]:
    """By server. Raises HypervisorError."""
    # Needs the C library, which a host with fake guests need not have.
    from pileus.services.compute.drivers.hypervisor.libvirt import reader

    found = await reader.list_guests(cloud, timeout_s=CALL_TIMEOUT_S)
    return {guest.server_id: GuestRecord(guest.server_id, guest.name, guest.is_active) for guest in found}


async def read_processes(instances: Path) -> dict[str, int]:
    """Process ids of QEMUs by the server whose directory they have a disk in."""
    return await asyncio.to_thread(_processes, instances)


def _processes(instances: Path) -> dict[str, int]:
    disk = re.compile(re.escape(str(instances)).encode() + rb"/([0-9a-f-]{36})/")
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in command.split(b"\0", 1)[0] and (match := disk.search(command)):
            found[match[1].decode()] = int(entry.name)
    return found
