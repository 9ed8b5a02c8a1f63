"""Names that every cloud has: resource classes and traits. Everything else begins with `CUSTOM_`."""

from __future__ import annotations

import functools
import importlib.resources
import re

# In the order in which clients know them; source: the os-resource-classes library, release 1.1.0.
RESOURCE_CLASSES = (
    "VCPU", "MEMORY_MB", "DISK_GB", "PCI_DEVICE", "SRIOV_NET_VF", "NUMA_SOCKET", "NUMA_CORE", "NUMA_THREAD",
    "NUMA_MEMORY_MB", "IPV4_ADDRESS", "VGPU", "VGPU_DISPLAY_HEAD", "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC", "PCPU", "MEM_ENCRYPTION_CONTEXT", "FPGA", "PGPU",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC", "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
)
STANDARD_CLASSES = frozenset(RESOURCE_CLASSES)
SHARES_VIA_AGGREGATE = "MISC_SHARES_VIA_AGGREGATE"

MAX_NAME_LENGTH = 255
_CUSTOM = re.compile(r"^CUSTOM_[A-Z0-9_]+$")


def is_custom(name: str) -> bool:
    """Whether a resource class or trait of this name may be made."""
    return len(name) <= MAX_NAME_LENGTH and bool(_CUSTOM.match(name)) and not name.endswith("\n")


@functools.cache
def standard_traits() -> frozenset[str]:
    """The standard traits."""
    text = importlib.resources.files(__package__ or "").joinpath("standard_traits.txt").read_text()
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
