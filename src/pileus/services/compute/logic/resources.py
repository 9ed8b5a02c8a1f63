"""What a server needs of a host, from its flavor and image."""

from __future__ import annotations

import math

from pileus.services.compute.db.servers import FlavorCopy, ImageCopy
from pileus.services.compute.scheduler.facts import DISK_GB, MEMORY_MB, VCPU

MIB_PER_GIB = 1024


def disk_gib(flavor: FlavorCopy) -> int:
    """Root, ephemeral and swap together."""
    return flavor.root_gib + flavor.ephemeral_gib + math.ceil(flavor.swap_mib / MIB_PER_GIB)


def needs(flavor: FlavorCopy) -> dict[str, int]:
    """Amounts by resource class; extra specs `resources:CLASS` override and add."""
    found = {VCPU: flavor.vcpus, MEMORY_MB: flavor.ram_mib, DISK_GB: disk_gib(flavor)}
    for key, value in flavor.extra_specs.items():
        if key.startswith("resources:") and value.isdigit():
            found[key.partition(":")[2]] = int(value)
    return {name: amount for name, amount in found.items() if amount > 0}


def traits(flavor: FlavorCopy, image: ImageCopy | None) -> tuple[frozenset[str], frozenset[str]]:
    """Traits that the host must have, and those that it must not have."""
    wanted, unwanted = set[str](), set[str]()
    for source in (flavor.extra_specs, image.properties if image else {}):
        for key, value in source.items():
            if key.startswith("trait:"):
                (wanted if value == "required" else unwanted).add(key.partition(":")[2])
    return frozenset(wanted), frozenset(unwanted)
