"""Images and the bytes in their store."""

from __future__ import annotations

import asyncio

from sqlalchemy import update

from pileus.kernel.db import Tx
from pileus.services.image.db import uploads
from pileus.services.image.db.images import IMAGES
from pileus.services.image.states import ACTIVE, DEACTIVATED, QUEUED
from pileus.verify.evidence.disks import PART
from pileus.verify.finding import Finding
from pileus.verify.repairs.repair import DONE, GONE, RepairFailed, Tools, outcome


async def abandon_upload(tools: Tools, finding: Finding) -> str:
    """Have the image wait for data again."""
    image, key = finding.resources["image"], finding.facts["store_key"]
    return outcome(await tools.databases["image"].write(uploads.abandon, image, key))


async def remove_object(tools: Tools, finding: Finding) -> str:
    """Remove bytes that no image refers to."""
    key = finding.resources["object"]
    if await tools.databases["image"].read(uploads.known_keys, tools.installation.image.store, [key]):
        return GONE
    path = tools.installation.store_dir / key
    for name in (path, path.with_name(key + PART)):
        await asyncio.to_thread(name.unlink, missing_ok=True)
    return DONE


async def forget_bytes(tools: Tools, finding: Finding) -> str:
    """Have an image without its bytes wait for data again. A store that is empty may not be mounted: then nothing is
    done."""
    if not await tools.stands(finding):
        return GONE
    if tools.evidence is None or not tools.evidence.objects:
        raise RepairFailed(f"there is nothing at all in {tools.installation.store_dir}: is it mounted?")
    image, key = finding.resources["image"], finding.facts["store_key"]
    return outcome(await tools.databases["image"].write(_forget_bytes, image, key))


def _forget_bytes(tx: Tx, image_id: str, key: str) -> bool:
    i = IMAGES.c
    same_key = i.store_key == key if key else i.store_key.is_(None)
    changed = tx.execute(
        update(IMAGES).where(i.id == image_id, i.status.in_((ACTIVE, DEACTIVATED)), same_key).values(
            status=QUEUED, store=None, store_key=None, size=None, virtual_size=None, checksum=None, os_hash_algo=None,
            os_hash_value=None, updated_at=tx.now(),
        )
    )  # fmt: skip
    return changed.rowcount == 1
