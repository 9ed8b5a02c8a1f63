"""Whether an image can boot with a flavor, and what a server keeps of it."""

from __future__ import annotations

from pileus.services.compute.clients.image import Image
from pileus.services.compute.db.servers import FlavorCopy, ImageCopy
from pileus.services.compute.errors import (
    FlavorMemoryTooSmall,
    ImageNotActive,
    ImageOverFlavorDisk,
    ImageUnusable,
    MinDiskOverFlavorDisk,
)

GIB = 1024**3
BOOTABLE_FORMATS = frozenset({"raw", "qcow2", "ami", "aki", "ari", "iso", "vmdk", "vdi", "vhd", "vhdx", "ploop", "qed"})


def check(image: Image, flavor: FlavorCopy) -> None:
    """Raise what stands against booting. A flavor with a root disk of 0 takes every size."""
    if image.status != "active":
        raise ImageNotActive(image_id=image.id)
    if image.disk_format not in BOOTABLE_FORMATS:
        raise ImageUnusable(image_id=image.id, reason=f"disk format {image.disk_format or 'unknown'} cannot be booted")
    if image.min_ram_mib > flavor.ram_mib:
        raise FlavorMemoryTooSmall()
    if flavor.root_gib == 0:
        return
    flavor_bytes = flavor.root_gib * GIB
    image_bytes = max(image.size_bytes, image.virtual_size_bytes)
    if image_bytes > flavor_bytes:
        raise ImageOverFlavorDisk(flavor_bytes=flavor_bytes, image_bytes=image_bytes)
    if image.min_disk_gib > flavor.root_gib:
        raise MinDiskOverFlavorDisk(flavor_bytes=flavor_bytes, minimum_bytes=image.min_disk_gib * GIB)


def copy(image: Image, *, kernel: Image | None = None, ramdisk: Image | None = None) -> ImageCopy:
    """What a server keeps."""
    return ImageCopy(
        id=image.id, disk_format=image.disk_format, size_bytes=image.size_bytes, hash_algo=image.hash_algo,
        hash_value=image.hash_value, min_ram_mib=image.min_ram_mib, min_disk_gib=image.min_disk_gib,
        properties=image.properties, kernel=copy(kernel) if kernel else None,
        ramdisk=copy(ramdisk) if ramdisk else None,
    )
