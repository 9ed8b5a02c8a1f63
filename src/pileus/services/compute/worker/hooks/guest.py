"""The guest's definition in the hypervisor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, get_args

from pileus.services.compute.drivers.hypervisor.interface import (
    DirectBoot,
    DiskBus,
    DiskDefinition,
    GuestDefinition,
    MachineType,
    NicDefinition,
    NicModel,
)
from pileus.services.compute.rpc import ServerSpec
from pileus.services.compute.worker.build import Build

_DEVICE_PREFIXES: Final = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}


class Guest:
    """Defines the guest, stopped; its undo ends it if it runs."""

    name = "guest"

    async def apply(self, build: Build) -> None:
        await build.hypervisor.define(guest_definition(build))

    async def undo(self, build: Build) -> None:
        await build.hypervisor.undefine(build.spec.server_id)


def root_device(spec: ServerSpec) -> str:
    """The root disk as the guest is expected to name it."""
    return f"/dev/{_DEVICE_PREFIXES[_bus(spec)]}a"


def guest_definition(build: Build) -> GuestDefinition:
    """The guest of a server whose disks exist."""
    spec, properties = build.spec, _properties(build.spec)
    model: NicModel = _choice(properties.get("hw_vif_model"), NicModel, "virtio")
    return GuestDefinition(
        server_id=spec.server_id, generation=build.generation, title=spec.name, vcpus=spec.flavor.vcpus,
        ram_mib=spec.flavor.ram_mib, console_log=build.paths.console_log, disks=_disks(build),
        nics=tuple(NicDefinition(nic.tap, nic.mac, nic.mtu, model) for nic in spec.nics),
        machine=_machine(spec), direct_boot=_direct_boot(build),
    )


def _disks(build: Build) -> tuple[DiskDefinition, ...]:
    paths, bus = build.paths, _bus(build.spec)
    base = build.base.path if build.base else None
    disks = [DiskDefinition(paths.root_disk, "qcow2", _device(bus, 0), bus, backing=base)]
    for path in (paths.ephemeral_disk, paths.swap_disk):
        if path.exists():
            disks.append(DiskDefinition(path, "raw", _device(bus, len(disks)), bus))
    if paths.config_drive.exists():
        device = _device(bus, len(disks))
        disks.append(DiskDefinition(paths.config_drive, "raw", device, bus, read_only=True, serial="config-2"))
    return tuple(disks)


def _direct_boot(build: Build) -> DirectBoot | None:
    if build.kernel is None:
        return None
    ramdisk: Path | None = build.ramdisk.path if build.ramdisk else None
    return DirectBoot(build.kernel.path, ramdisk, build.spec.kernel_cmdline)


def _machine(spec: ServerSpec) -> MachineType:
    return "q35" if "q35" in _properties(spec).get("hw_machine_type", "") else "pc"


def _properties(spec: ServerSpec) -> dict[str, str]:
    return spec.image.properties if spec.image is not None else {}


def _bus(spec: ServerSpec) -> DiskBus:
    bus: DiskBus = _choice(_properties(spec).get("hw_disk_bus"), DiskBus, "virtio")
    return "sata" if bus == "ide" and _machine(spec) == "q35" else bus  # q35 has no IDE controller


def _device(bus: DiskBus, index: int) -> str:
    return f"{_DEVICE_PREFIXES[bus]}{chr(ord('a') + index)}"


def _choice(value: str | None, allowed: Any, default: Any) -> Any:
    """`value` if it is one of the literal type `allowed`, else the default: a guest that runs beats a strict
    one."""
    return value if value in get_args(allowed) else default
