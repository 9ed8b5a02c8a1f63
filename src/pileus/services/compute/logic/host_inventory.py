"""What a host has to give, from its report: for placement, and for the scheduler's facts."""

from __future__ import annotations

from pileus.services.compute.clients.placement import Inventory
from pileus.services.compute.config import ComputeConfig
from pileus.services.compute.rpc import HostReport
from pileus.services.compute.scheduler.facts import DISK_GB, MEMORY_MB, VCPU


def inventory_of(report: HostReport, config: ComputeConfig) -> dict[str, Inventory]:
    """Inventory by resource class; a class of which the host has nothing is left out."""
    sizes = (
        (VCPU, report.vcpus, 0, config.cpu_allocation_ratio),
        (MEMORY_MB, report.ram_mib, config.reserved_ram_mib, config.ram_allocation_ratio),
        (DISK_GB, report.disk_gib, config.reserved_disk_gib, config.disk_allocation_ratio),
    )
    return {
        name: Inventory(total=total, reserved=min(reserved, total), max_unit=total, allocation_ratio=ratio)
        for name, total, reserved, ratio in sizes
        if total > 0
    }
