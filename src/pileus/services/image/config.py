"""Options of the image service (table [image])."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pileus.kernel.host.image_format import MAX_VIRTUAL_BYTES

Positive = Annotated[int, msgspec.Meta(ge=1)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0)]


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table [image].

    store: driver (a folder of drivers/store) that takes new images. store_dir: where the `file` driver keeps images;
    below the service's state directory when not given. disk_formats, container_formats: what images may be registered
    as. format_enforcement: refuse uploads whose content is not the declared disk format or is unsafe; without it
    anything is stored, and compute alone judges before use. max_image_bytes: longest upload. max_virtual_bytes: largest
    virtual disk that passes the gate. default_page, max_page: images per page of a listing. max_properties, max_tags,
    max_members: per image.

    image_count_total, image_size_total (MiB), image_count_uploading: default limits per project, -1 for none.

    store_idle_s: the store's disk may take so long for one thing; then it counts as not answering.

    upload_idle_s: an upload that sends nothing for so long is cut off. upload_beat_s: how often a running upload says
    that it lives. upload_stale_s: an upload that did not say so for this long is taken for dead. reconcile_s: time
    between two runs of the store reconciler.
    """

    store: str = "file"
    store_dir: str | None = None
    disk_formats: tuple[str, ...] = ("ami", "ari", "aki", "vhd", "vmdk", "raw", "qcow2", "vdi", "iso")
    container_formats: tuple[str, ...] = ("ami", "ari", "aki", "bare")
    format_enforcement: bool = True
    max_image_bytes: Positive = 2**40
    max_virtual_bytes: Positive = MAX_VIRTUAL_BYTES
    default_page: Positive = 25
    max_page: Positive = 1_000
    max_properties: int = 128
    max_tags: int = 128
    max_members: int = 128
    image_count_total: int = 1_000
    image_size_total: int = -1
    image_count_uploading: int = 20
    store_idle_s: PositiveSeconds = 60.0
    upload_idle_s: PositiveSeconds = 60.0
    upload_beat_s: PositiveSeconds = 5.0
    upload_stale_s: PositiveSeconds = 30.0
    reconcile_s: PositiveSeconds = 60.0
