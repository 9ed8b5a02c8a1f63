"""What there really is on one host: its kernel, its hypervisor, its processes, its disks, its logs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from pileus.kernel.config import ConfigError
from pileus.kernel.errors import ServiceError
from pileus.kernel.host.command import CommandError
from pileus.services.compute.drivers.hypervisor.interface import HypervisorError
from pileus.verify.evidence import dhcp, disks, guests, kernel
from pileus.verify.evidence import secrecy as secrets
from pileus.verify.installation import CouldNotLook, Installation

T = TypeVar("T")

FAILURES = (
    CouldNotLook, SQLAlchemyError, OSError, CommandError, HypervisorError, ConfigError, ServiceError, ImportError,
)  # fmt: skip
"""What a part that cannot be read ends with."""


class Problem(msgspec.Struct, frozen=True):
    """A part that could not be compared, and why."""

    part: str
    reason: str


class HostRecords(msgspec.Struct, kw_only=True):
    """One look at a host. A part that could not be read, or that no role of the host has to do with, is None.

    physical_networks: bridge by name, as its L2 agent is told.
    """

    problems: list[Problem] = []
    physical_networks: dict[str, str] = {}
    kernel: kernel.KernelRecords | None = None
    dhcp: dict[str, dhcp.DhcpRecord] | None = None
    guests: dict[str, guests.GuestRecord] | None = None
    processes: dict[str, int] | None = None
    disks: disks.DiskRecords | None = None
    objects: dict[str, disks.ObjectRecord] | None = None
    leaks: tuple[secrets.LeakRecord, ...] | None = None
    exposed: tuple[secrets.ExposedRecord, ...] | None = None


PARTS = tuple(name for name in HostRecords.__struct_fields__ if name != "problems")


async def look(installation: Installation) -> HostRecords:
    """Read everything on this host that can be read now."""
    seen = HostRecords(physical_networks=dict(installation.network.physical_networks))
    real = installation.has_real_guests or installation.has_real_networks
    if real and os.geteuid() != 0:
        seen.problems.append(Problem("this host", "only root can look at devices, rules, guests and processes"))
        return seen

    async def part(words: str, read: Callable[[], Awaitable[T]]) -> T | None:
        return await attempt(seen.problems, words, read)

    if installation.has_real_networks and installation.has_networks_here:
        seen.kernel = await part("network of the kernel", lambda: kernel.read(installation.ownership))
        seen.dhcp = await part("dnsmasq", lambda: asyncio.to_thread(dhcp.read, installation.dhcp_dir))
    if installation.has_guests_here:
        if installation.has_real_guests:
            instances = installation.guests_dir / "instances"
            seen.guests = await part("hypervisor", lambda: guests.read_guests(installation.node.cloud))
            seen.processes = await part("processes", lambda: guests.read_processes(instances))
        seen.disks = await part("disks", lambda: asyncio.to_thread(disks.read, installation.guests_dir))
    if installation.image.store == "file" and installation.has_images_here:
        seen.objects = await part(
            "image store", lambda: asyncio.to_thread(disks.read_objects, installation.store_dir)
        )
    seen.leaks = await part("logs", lambda: asyncio.to_thread(secrets.read_leaks, installation))
    seen.exposed = await part("file modes", lambda: asyncio.to_thread(secrets.read_exposed, installation))
    return seen


async def attempt(problems: list[Problem], words: str, read: Callable[[], Awaitable[T]]) -> T | None:
    """What `read` returns; None, and a problem more, when it fails."""
    try:
        return await read()
    except FAILURES as error:
        problems.append(Problem(words, words_of(error)))
        return None


def words_of(error: Exception) -> str:
    """One line, not endless."""
    return " ".join(str(error).split())[:300] or type(error).__name__
