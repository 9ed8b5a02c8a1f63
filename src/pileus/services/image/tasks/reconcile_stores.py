"""The store reconciler: uploads whose process is gone go back to `queued`; store objects that belong to no image go."""

from __future__ import annotations

import logging
from datetime import timedelta

from pileus.kernel.process import Runtime
from pileus.services.image.config import ImageConfig
from pileus.services.image.db import uploads
from pileus.services.image.drivers.store.interface import StoredObject, StoreError
from pileus.services.image.worker.live_uploads import LiveUploads
from pileus.services.image.worker.stores import Stores

log = logging.getLogger(__name__)

BATCH = 200


async def start(rt: Runtime[ImageConfig]) -> None:
    """Begin to reconcile, now and periodically."""
    rt.every(rt.config.reconcile_s, lambda: reconcile(rt), name="image stores")


async def reconcile(rt: Runtime[ImageConfig]) -> None:
    """One run."""
    await _free_stale_uploads(rt)
    for name in rt.get(Stores).names:
        await _remove_orphans(rt, name)


async def _free_stale_uploads(rt: Runtime[ImageConfig]) -> None:
    live = rt.get(LiveUploads)
    found = await rt.db.read(
        uploads.stale, silent_since=rt.clock.now() - timedelta(seconds=rt.config.upload_stale_s),
        process=live.process, live_keys=tuple(live.keys), limit=BATCH,
    )
    for upload in found:
        if await rt.db.write(uploads.abandon, upload.image_id, upload.store_key):
            log.info("the upload of image %s is dead; the image waits for data again", upload.image_id)


async def _remove_orphans(rt: Runtime[ImageConfig], store_name: str) -> None:
    """Objects are listed first and looked up after: an upload's key is in the database before its first byte."""
    batch: list[StoredObject] = []
    async for entry in rt.get(Stores)[store_name].list():
        batch.append(entry)
        if len(batch) >= BATCH:
            await _remove_unknown(rt, store_name, batch)
            batch = []
    await _remove_unknown(rt, store_name, batch)


async def _remove_unknown(rt: Runtime[ImageConfig], store_name: str, batch: list[StoredObject]) -> None:
    if not batch:
        return
    known = await rt.db.read(uploads.known_keys, store_name, [entry.key for entry in batch])
    for entry in batch:
        # A live upload that lost its image frees its bytes itself.
        if entry.key in known or entry.key in rt.get(LiveUploads).keys:
            continue
        try:
            await rt.get(Stores)[store_name].delete(entry.key)
            log.info("store %s: removed %s (%d bytes), which belongs to no image", store_name, entry.key, entry.size)
        except StoreError as error:
            log.warning("store %s: %s belongs to no image and could not be removed: %s", store_name, entry.key, error)
