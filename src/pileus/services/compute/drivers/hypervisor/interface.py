"""What the agent asks of a hypervisor, and the structs it asks with.

A driver runs guests that are described completely by a `GuestDefinition`; it makes no disks, plugs no
networks and keeps no intent. It touches only guests that carry its cloud's name. Guests outlive the driver
object and the process that holds it. The contract is executable:
tests/unit/compute_host/test_driver_contract.py runs on every driver.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import msgspec

from pileus.services.compute.rpc import Acceleration, CpuInfo, PowerState

MachineType = Literal["pc", "q35"]
DiskBus = Literal["virtio", "scsi", "ide", "sata"]
NicModel = Literal["virtio", "e1000", "e1000e", "rtl8139"]


class HypervisorError(Exception):
    """The hypervisor refused or failed. The text is for operators."""


class HypervisorTimeout(HypervisorError):
    """The hypervisor did not answer within the deadline of the call; whether it acted is unknown."""


class GuestNotFound(HypervisorError):
    """No guest of this cloud has that id here."""


class DiskDefinition(msgspec.Struct, frozen=True):
    """A disk file of the guest. `backing` is the raw file below a qcow2 overlay, named so that nobody need
    probe for it."""

    path: Path
    image_format: Literal["raw", "qcow2"]
    device: str  # as the guest is expected to name it: vda, vdb, ...
    bus: DiskBus = "virtio"
    backing: Path | None = None
    read_only: bool = False
    serial: str = ""


class NicDefinition(msgspec.Struct, frozen=True):
    """A network card on an existing tap device."""

    tap: str
    mac: str
    mtu: int = 1500
    model: NicModel = "virtio"


class DirectBoot(msgspec.Struct, frozen=True):
    """A kernel that the hypervisor loads itself, instead of booting from the first disk."""

    kernel: Path
    ramdisk: Path | None = None
    cmdline: str = ""


class GuestDefinition(msgspec.Struct, frozen=True):
    """Everything about a guest. `title` is the server's name, shown to operators only."""

    server_id: str
    generation: int
    title: str
    vcpus: int
    ram_mib: int
    console_log: Path
    disks: tuple[DiskDefinition, ...]
    nics: tuple[NicDefinition, ...] = ()
    machine: MachineType = "pc"
    direct_boot: DirectBoot | None = None


class GuestState(msgspec.Struct, frozen=True):
    """A guest as the hypervisor knows it. `clean_stop`: it is stopped because it powered itself off, or was
    asked to."""

    server_id: str
    instance_name: str
    generation: int
    power_state: PowerState
    clean_stop: bool = False
    vnc_port: int | None = None


class HostFacts(msgspec.Struct, frozen=True):
    """The host as the hypervisor sees it."""

    hypervisor_type: str
    hypervisor_version: int  # major * 1,000,000 + minor * 1,000 + micro
    vcpus: int
    ram_mib: int
    cpu: CpuInfo
    acceleration: Acceleration


@runtime_checkable
class Hypervisor(Protocol):
    """The contract. All methods but `open` and `close` may raise HypervisorError or HypervisorTimeout; those
    that name a server raise GuestNotFound when it is not defined here, unless they say otherwise."""

    async def open(self) -> None:
        """Connect, starting the hypervisor's own daemon where nothing else does. Raises HypervisorError."""
        ...

    async def close(self) -> None:
        """Let go; guests run on."""
        ...

    async def host_facts(self) -> HostFacts:
        """Processor, memory, version, acceleration."""
        ...

    async def define(self, guest: GuestDefinition) -> GuestState:
        """Make the guest known, stopped, or replace its definition; a running one takes it at its next start.
        """
        ...

    async def start(self, server_id: str) -> GuestState:
        """Run the guest, also one that was paused because its disk could not grow; running already is success."""
        ...

    async def press_power_button(self, server_id: str) -> None:
        """Ask the guest to shut down; returns at once, and says nothing about whether it will. Stopped
        already is success."""
        ...

    async def power_off(self, server_id: str) -> None:
        """End the guest's process now; stopped already is success."""
        ...

    async def undefine(self, server_id: str) -> None:
        """End the guest and forget it; already gone is success."""
        ...

    async def inspect(self, server_id: str) -> GuestState | None:
        """The guest's state, None when it is not defined here."""
        ...

    async def list_guests(self) -> tuple[GuestState, ...]:
        """All guests of this cloud on this host."""
        ...


@runtime_checkable
class OwnsDaemon(Protocol):
    """A driver that may have started a daemon of its own."""

    async def stop_daemon(self) -> bool:
        """End the daemon if this driver started it and no guest runs; whether it was ended."""
        ...


def instance_name(server_id: str) -> str:
    """The hypervisor's name of a guest; the first eleven characters of the id tell servers apart for people.
    """
    return f"pileus-{server_id[:13]}"
