"""Which extra specs are known, and what values they may have (checked from 2.86 on).

Keys outside the known namespaces are free. Source: the list of flavor extra specs in the public documentation of the
compute API.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pileus.kernel.errors import BadRequest

_BOOLEAN = re.compile(r"^(true|false|yes|no|on|off|1|0|t|f|y|n)$", re.IGNORECASE)
_INTEGER = re.compile(r"^\d{1,18}$")


def _boolean(value: str) -> bool:
    return bool(_BOOLEAN.match(value))


def _integer(value: str) -> bool:
    return bool(_INTEGER.match(value))


def _one_of(*words: str) -> Callable[[str], bool]:
    return lambda value: value in words


def _anything(_value: str) -> bool:
    return True


KNOWN: dict[str, Callable[[str], bool]] = {
    "hw:cpu_policy": _one_of("dedicated", "shared", "mixed"),
    "hw:cpu_thread_policy": _one_of("prefer", "isolate", "require"),
    "hw:cpu_max_sockets": _integer, "hw:cpu_max_cores": _integer, "hw:cpu_max_threads": _integer,
    "hw:cpu_sockets": _integer, "hw:cpu_cores": _integer, "hw:cpu_threads": _integer,
    "hw:cpu_realtime": _boolean, "hw:cpu_realtime_mask": _anything, "hw:cpu_dedicated_mask": _anything,
    "hw:emulator_threads_policy": _one_of("isolate", "share"),
    "hw:hide_hypervisor_id": _boolean, "hw:boot_menu": _boolean, "hw:mem_encryption": _boolean,
    "hw:mem_page_size": lambda v: bool(re.match(r"^(small|large|any|\d+([kKMGT]i?)?(b|bit|B)?)$", v)),
    "hw:numa_nodes": _integer, "hw:pci_numa_affinity_policy": _one_of("required", "preferred", "legacy", "socket"),
    "hw:pmem": _anything, "hw:pmu": _boolean, "hw:serial_port_count": _integer, "hw:tpm_model": _anything,
    "hw:tpm_version": _one_of("1.2", "2.0"), "hw:tpm_secret_security": _anything, "hw:vif_multiqueue_enabled": _boolean,
    "hw:watchdog_action": _one_of("none", "pause", "poweroff", "reset", "disabled"), "hw:viommu_model": _anything,
    "hw:virtio_packed_ring": _boolean, "hw:locked_memory": _boolean, "hw:maxphysaddr_mode": _anything,
    "hw:maxphysaddr_bits": _integer, "hw:sound_model": _anything, "hw:usb_model": _anything,
    "hw:redirected_usb_ports": _integer, "hw:mem_encryption_model": _anything,
    "hw_rng:allowed": _boolean, "hw_rng:rate_bytes": _integer, "hw_rng:rate_period": _integer,
    "hw_video:ram_max_mb": _integer, "os:secure_boot": _one_of("required", "disabled", "optional"),
    **{f"quota:{name}": _integer for name in (
        "cpu_shares", "cpu_period", "disk_read_bytes_sec", "disk_read_iops_sec", "disk_total_bytes_sec",
        "disk_total_iops_sec", "disk_write_bytes_sec", "disk_write_iops_sec", "vif_inbound_average",
        "vif_inbound_burst", "vif_inbound_peak", "vif_outbound_average", "vif_outbound_burst", "vif_outbound_peak",
        "memory_limit", "memory_reservation", "memory_shares_share", "cpu_limit", "cpu_reservation", "cpu_shares_share",
        "disk_io_limit", "disk_io_reservation", "disk_io_shares_share",
    )},
    "quota:cpu_quota": lambda v: bool(re.match(r"^-?\d{1,18}$", v)),
}
PATTERNS = (
    re.compile(r"^hw:numa_(cpus|mem)\.\d+$"), re.compile(r"^hw:cpu_realtime.*$"),
)
CLOSED_NAMESPACES = ("hw:", "quota:", "hw_rng:", "hw_video:")
_TRAIT = re.compile(r"^trait\d*[a-zA-Z0-9_-]*:[A-Z][A-Z0-9_]*$")
_RESOURCES = re.compile(r"^resources\d*[a-zA-Z0-9_-]*:[A-Z][A-Z0-9_]*$")


def check(key: str, value: str) -> None:
    """Raise `BadRequest` for a known key with a value it cannot have, or an unknown key of a closed namespace."""
    if key.startswith("trait") and ":" in key:
        ok = bool(_TRAIT.match(key)) and value in ("required", "forbidden")
    elif key.startswith("resources") and ":" in key:
        ok = bool(_RESOURCES.match(key)) and _integer(value)
    elif key in KNOWN:
        ok = KNOWN[key](value)
    elif any(pattern.match(key) for pattern in PATTERNS):
        ok = True
    elif key.startswith(CLOSED_NAMESPACES):
        raise BadRequest(f"Validation failed; extra spec '{key}' does not appear to be a valid extra spec.")
    else:
        return
    if not ok:
        raise BadRequest(f"Validation failed; '{value}' is not a valid value for the extra spec '{key}'.")
