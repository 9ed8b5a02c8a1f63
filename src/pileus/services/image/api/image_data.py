"""/v2/images/{id}/file: upload and download. Bytes stream through; never is a whole image in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route
from pileus.kernel.process import Runtime
from pileus.kernel.quota import UNLIMITED, Quotas
from pileus.services.image.api.images import refuse_over_quota
from pileus.services.image.api.lookup import enforce, is_admin, visible_image
from pileus.services.image.config import ImageConfig
from pileus.services.image.db import images, uploads
from pileus.services.image.db.images import MIB, Image
from pileus.services.image.drivers.store.interface import NoSpace, Reader, StoreError
from pileus.services.image.errors import (
    DataUnavailable,
    FormatMissing,
    ImageDeactivated,
    ImageVanished,
    OverQuota,
    StoreFailed,
    StoreFull,
    TooLarge,
    UnknownStore,
    WrongMediaType,
    WrongTransition,
)
from pileus.services.image.logic.ranges import wanted_range
from pileus.services.image.quotas import IMAGE_SIZE, IMAGE_UPLOADS
from pileus.services.image.states import ACTIVE, DEACTIVATED, QUEUED, SAVING
from pileus.services.image.worker.intake import HASH_ALGORITHM, Expected, Received, take_in
from pileus.services.image.worker.live_uploads import LiveUploads
from pileus.services.image.worker.stores import Stores

log = logging.getLogger(__name__)

DATA_TYPE = "application/octet-stream"


# -- upload ----------------------------------------------------------------------------------------------------------


class _Upload(msgspec.Struct, frozen=True):
    """One upload on its way: which image, and where its bytes go."""

    image_id: str
    store: str
    key: str


async def upload(call: Call[None]) -> None:
    """queued -> saving -> active; back to queued, with every byte freed, when anything goes wrong."""
    rt: Runtime[ImageConfig] = call.rt
    content_type = call.request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != DATA_TYPE:
        raise WrongMediaType(content_type=content_type[:80] or "(none)")
    stores, live = rt.get(Stores), rt.get(LiveUploads)
    store = call.request.headers.get("x-image-meta-store", stores.default)
    if store not in stores:
        raise UnknownStore(store=store[:80])
    mine = _Upload(call.path["image_id"], store, rt.clock.new_id())
    live.keys.add(mine.key)
    try:
        expected = await rt.db.write(_begin, call, mine, _announced_size(call))
        await _store(call, mine, expected)
    except BaseException:
        await asyncio.shield(asyncio.ensure_future(_give_back(rt, mine)))
        raise
    finally:
        live.keys.discard(mine.key)


def _announced_size(call: Call[None]) -> int | None:
    found = None
    for name in ("x-openstack-image-size", "content-length"):
        if (text := call.request.headers.get(name)) is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise BadRequest(f"{name} must be a number of bytes, not '{text[:40]}'.")
        if found is not None and found != int(text):
            raise BadRequest(f"x-openstack-image-size ({found}) and content-length ({text}) contradict each other.")
        found = int(text)
    return found


def _begin(tx: Tx, call: Call[None], mine: _Upload, announced: int | None) -> Expected:
    rt: Runtime[ImageConfig] = call.rt
    image = visible_image(tx, call)
    enforce(call, "upload_image", image)
    if image.status != QUEUED:
        raise WrongTransition(current=image.status, wanted=SAVING)
    missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
    if missing:
        raise FormatMissing(names=", ".join(missing))
    limit = rt.config.max_image_bytes
    if announced is not None and announced > limit:
        raise TooLarge(limit=limit)
    refuse_over_quota(tx, rt.get(Quotas), image.owner, IMAGE_UPLOADS, 1)
    limit = min(limit, _room(tx, rt.get(Quotas), image.owner, announced))
    if not uploads.begin(tx, image.id, store=mine.store, store_key=mine.key, owner=rt.get(LiveUploads).process):
        raise WrongTransition(current=image.status, wanted=SAVING)
    return Expected(
        image.id, image.disk_format or "", announced, limit, rt.config.max_virtual_bytes,
        rt.config.format_enforcement, rt.config.upload_idle_s,
    )


def _room(tx: Tx, quotas: Quotas, owner: str | None, wanted: int | None) -> int:
    """Bytes that the owner's quota still has room for. Raises `OverQuota` when there is none, or not enough."""
    limit = UNLIMITED if owner is None else quotas.limits(tx, owner)[IMAGE_SIZE]
    if owner is None or limit == UNLIMITED:
        return 2**63
    used = images.bytes_of_project(tx, owner)
    room = limit * MIB - used
    if room < (1 if wanted is None else wanted):
        raise OverQuota(project_id=owner, name=IMAGE_SIZE, limit=limit, used=-(-used // MIB),
                        requested=-(-(wanted or 1) // MIB))
    return room


async def _store(call: Call[None], mine: _Upload, expected: Expected) -> None:
    rt: Runtime[ImageConfig] = call.rt
    try:
        writer = await rt.get(Stores)[mine.store].create(mine.key)
    except NoSpace as error:
        raise StoreFull(detail=str(error)) from error
    except StoreError as error:
        raise StoreFailed(detail=str(error)) from error
    received = await _unless_taken_away(rt, mine, take_in(call.request.stream().__aiter__(), writer, expected))
    if not await rt.db.write(_finish, rt.get(Quotas), mine, received):
        raise ImageVanished(image_id=mine.image_id)


async def _unless_taken_away(rt: Runtime[ImageConfig], mine: _Upload, work: Any) -> Received:
    """Do the work, saying that it lives; give it up when the image was deleted meanwhile."""
    working = asyncio.ensure_future(work)
    beating = asyncio.ensure_future(_beat(rt, mine))
    try:
        await asyncio.wait((working, beating), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            beating.result()
            raise ImageVanished(image_id=mine.image_id)
        return working.result()
    finally:
        for task in (working, beating):
            task.cancel()
        await asyncio.wait((working, beating))


async def _beat(rt: Runtime[ImageConfig], mine: _Upload) -> None:
    """Returns when the upload was taken away."""
    while True:
        await asyncio.sleep(rt.config.upload_beat_s)
        if not await rt.db.write(uploads.beat, mine.image_id, mine.key):
            return


def _finish(tx: Tx, quotas: Quotas, mine: _Upload, received: Received) -> bool:
    image = images.get(tx, mine.image_id)
    if image is None:
        return False
    _room(tx, quotas, image.owner, received.size)
    data = uploads.Data(received.size, received.virtual_size, received.md5, HASH_ALGORITHM, received.sha512)
    return uploads.finish(tx, mine.image_id, mine.key, data)


async def _give_back(rt: Runtime[ImageConfig], mine: _Upload) -> None:
    """Undo an upload. The database decides: bytes that an active image refers to by now stay."""
    if await rt.db.write(_abandon, mine):
        try:
            await rt.get(Stores)[mine.store].delete(mine.key)
        except StoreError as error:
            log.warning("the bytes of a failed upload of image %s stay for now: %s", mine.image_id, error)


def _abandon(tx: Tx, mine: _Upload) -> bool:
    uploads.abandon(tx, mine.image_id, mine.key)
    return not uploads.known_keys(tx, mine.store, [mine.key])


# -- download --------------------------------------------------------------------------------------------------------


async def download(call: Call[None]) -> Response:
    """The bytes, all or one range; 204 while there are none."""
    image = await call.rt.db.read(_downloadable, call)
    if image.status not in (ACTIVE, DEACTIVATED) or image.store is None or image.store_key is None:
        return Response(status_code=204)
    headers = call.request.headers
    span = wanted_range(headers.get("range"), headers.get("content-range"), image.size or 0)
    try:
        reader = await call.rt.get(Stores)[image.store].open(image.store_key)
    except (KeyError, StoreError) as error:
        raise DataUnavailable(image_id=image.id, detail=repr(error)) from error
    if reader.size != image.size:
        await reader.close()
        raise DataUnavailable(image_id=image.id, detail=f"{reader.size} bytes are stored, {image.size} are known")
    start, end = span or (0, reader.size)
    answer = {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
    if span:
        answer["Content-Range"] = f"bytes {start}-{end - 1}/{reader.size}"
    elif image.checksum:
        answer["Content-MD5"] = image.checksum
    status = 206 if span else 200
    if call.request.method == "HEAD":
        await reader.close()
        return Response(status_code=status, headers=answer, media_type=DATA_TYPE)
    return _Download(reader, start, end, status, answer)


def _downloadable(tx: Tx, call: Call[None]) -> Image:
    image = visible_image(tx, call)
    enforce(call, "download_image", image)
    if image.status == DEACTIVATED and not is_admin(call):
        raise ImageDeactivated()
    return image


class _Download(StreamingResponse):
    """Closes the reader however the response ends."""

    def __init__(self, reader: Reader, start: int, end: int, status: int, headers: dict[str, str]) -> None:
        self._reader = reader
        super().__init__(_blocks(reader, start, end), status_code=status, headers=headers, media_type=DATA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._reader.close()


async def _blocks(reader: Reader, start: int, end: int) -> AsyncIterator[bytes]:
    """Siblings in this process iterate without calling the response: the end of the iteration closes too.

    It must not refer to the response, or a reader that was given up would wait for the cycle collector.
    """
    try:
        async for block in reader.blocks(start, end):
            yield block
    finally:
        await reader.close()


ROUTES = (
    Route(method="PUT", path="/v2/images/{image_id}/file", handler=upload, policy="upload_image", success=204,
          max_body_bytes=None),
    Route(method="GET", path="/v2/images/{image_id}/file", handler=download, policy="download_image"),
)
