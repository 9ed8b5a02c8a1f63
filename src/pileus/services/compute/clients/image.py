"""The image service, as far as compute needs it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pileus.kernel.errors import RemoteError
from pileus.kernel.http.client import ServiceSession

_UUID = re.compile(r"^[0-9a-fA-F-]{32,36}$")

# Attributes of images that are not properties.
_BASE = frozenset({
    "id", "name", "status", "visibility", "protected", "checksum", "owner", "owner_specified", "size", "virtual_size",
    "container_format", "disk_format", "created_at", "updated_at", "tags", "self", "file", "schema", "min_ram",
    "min_disk", "os_hash_algo", "os_hash_value", "os_hidden", "locations", "direct_url", "stores",
})


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image as its service describes it. Sizes in bytes where not named otherwise; 0: unknown."""

    id: str
    status: str
    disk_format: str
    size_bytes: int
    virtual_size_bytes: int
    min_ram_mib: int
    min_disk_gib: int
    hash_algo: str
    hash_value: str
    properties: dict[str, str]


class ImageClient:
    """Typed calls on a session."""

    def __init__(self, session: ServiceSession) -> None:
        self._session = session

    async def get(self, image_id: str, *, token: str | None = None) -> Image | None:
        """An image that the owner of `token` (None: compute itself) may use; None when there is none."""
        if not _UUID.match(image_id):
            return None
        try:
            result = await self._session.request("image", "GET", f"/v2/images/{image_id}", token=token)
        except RemoteError as error:
            if error.code in (403, 404):
                return None
            raise
        return _image(result.json())


def _image(found: dict[str, Any]) -> Image:
    properties = {key: value for key, value in found.items() if key not in _BASE and isinstance(value, str)}
    return Image(
        id=found["id"], status=found.get("status") or "", disk_format=found.get("disk_format") or "",
        size_bytes=found.get("size") or 0, virtual_size_bytes=found.get("virtual_size") or 0,
        min_ram_mib=found.get("min_ram") or 0, min_disk_gib=found.get("min_disk") or 0,
        hash_algo=found.get("os_hash_algo") or "", hash_value=found.get("os_hash_value") or "", properties=properties,
    )
