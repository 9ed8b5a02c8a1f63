"""What a new server boots: its image, checked against its flavor."""

from __future__ import annotations

import re
from typing import Any

from pileus.kernel.errors import BadRequest, RemoteError, Unavailable
from pileus.kernel.http import Call
from pileus.services.compute.api.servers.bodies import BlockDevice, NewServer
from pileus.services.compute.clients.image import Image, ImageClient
from pileus.services.compute.db.servers import FlavorCopy, ImageCopy
from pileus.services.compute.errors import ImageNotActive, ImageUnusable, UnknownImage
from pileus.services.compute.logic import image_fit

_UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")


async def resolve(call: Call[Any], body: NewServer, flavor: FlavorCopy) -> ImageCopy:
    """The image's facts, for the server to keep. Raises the 400s that users expect."""
    image_id = _image_id(body)
    if not _UUID.match(image_id):
        raise BadRequest("Invalid imageRef provided.")
    client = call.rt.get(ImageClient)
    try:
        image = await client.get(image_id, token=call.token)
        if image is None:
            raise UnknownImage(detail=f"image {image_id}")
        image_fit.check(image, flavor)
        kernel = await _part(call, client, image, "kernel_id")
        ramdisk = await _part(call, client, image, "ramdisk_id")
    except RemoteError as error:
        raise Unavailable("The image service does not answer.", detail=error.text) from None
    if ramdisk is not None and kernel is None:
        raise ImageUnusable(image_id=image.id, reason="it names a ramdisk but no kernel")
    return image_fit.copy(image, kernel=kernel, ramdisk=ramdisk)


async def _part(call: Call[Any], client: ImageClient, image: Image, key: str) -> Image | None:
    """The kernel or ramdisk that an image names, which the user must be able to use as well."""
    part_id = image.properties.get(key)
    if not part_id:
        return None
    part = await client.get(part_id, token=call.token)
    if part is None:
        raise ImageUnusable(image_id=image.id, reason=f"its {key} {part_id[:36]} could not be found")
    if part.status != "active":
        raise ImageNotActive(image_id=part.id)
    return part


def _image_id(body: NewServer) -> str:
    """The image to boot: imageRef, or one block device that copies an image to a local disk, which is the same."""
    if body.block_device_mapping:
        raise BadRequest("Block Device Mapping is Invalid: this cloud boots from images on local disks only.")
    devices = body.block_device_mapping_v2 or []
    image_id = body.imageRef or ""
    for device in devices:
        _check_device(device)
        if image_id and device.uuid != image_id:
            raise BadRequest("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device "
                             "mapping combination is not valid.")
        image_id = device.uuid or ""
    if len(devices) > 1:
        raise BadRequest("Block Device Mapping is Invalid: one local disk from an image is supported.")
    if not image_id:
        raise BadRequest("Invalid imageRef provided." if not devices else "Missing imageRef attribute")
    return image_id


def _check_device(device: BlockDevice) -> None:
    if device.source_type != "image" or device.destination_type not in (None, "local"):
        raise BadRequest("Block Device Mapping is Invalid: this cloud boots from images on local disks only; "
                         f"source_type '{device.source_type}' with destination_type '{device.destination_type}' is not "
                         "supported.")
    if str(device.boot_index if device.boot_index is not None else 0) != "0":
        raise BadRequest("Block Device Mapping is Invalid: the image's disk must have boot_index 0.")
