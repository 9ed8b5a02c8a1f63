"""How images and members look in answers: one function per resource."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pileus.services.image.db.images import Image
from pileus.services.image.db.members import Member
from pileus.services.image.states import QUEUED, SAVING


def timestamp(value: datetime) -> str:
    """A time as this API writes it: whole seconds, Z."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def image_view(image: Image) -> dict[str, Any]:
    """An image. Where its bytes are stays private."""
    path = f"/v2/images/{image.id}"
    stored = {} if image.status in (QUEUED, SAVING) or image.store is None else {"stores": image.store}
    return {
        **image.properties,
        "name": image.name,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "visibility": image.visibility,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "status": image.status,
        "checksum": image.checksum,
        "protected": image.protected,
        "min_ram": image.min_ram,
        "min_disk": image.min_disk,
        "owner": image.owner,
        "os_hidden": image.os_hidden,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "id": image.id,
        "created_at": timestamp(image.created_at),
        "updated_at": timestamp(image.updated_at),
        **stored,
        "tags": list(image.tags),
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }


def member_view(member: Member) -> dict[str, Any]:
    """A membership."""
    return {
        "member_id": member.member_id,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": timestamp(member.created_at),
        "updated_at": timestamp(member.updated_at),
        "schema": "/v2/schemas/member",
    }
