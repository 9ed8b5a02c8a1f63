"""The image cache: one download however many ask, nothing unsafe or half-way is ever used, bases never change."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pileus.kernel.host import qemu_img
from pileus.services.compute.rpc import ImageRef
from pileus.services.compute.worker.download import Pace
from pileus.services.compute.worker.faults import ServerFault
from pileus.services.compute.worker.images import ImageCache

MIB = 2**20


class Source:
    """Streams bytes in small chunks; may stop to wait, or fail half-way."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.opened = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.fail_after: int | None = None
        self.pause_s = 0.0
        self.closed = 0

    async def __call__(self, image: ImageRef) -> AsyncIterator[bytes]:
        self.opened += 1
        try:
            await self.go_on.wait()
            for start in range(0, len(self.content), 100_000):
                if self.fail_after is not None and start >= self.fail_after:
                    raise ConnectionResetError("the image service went away")
                await asyncio.sleep(self.pause_s)
                yield self.content[start : start + 100_000]
        finally:
            self.closed += 1


def reference(content: bytes, disk_format: str = "raw", **changes) -> ImageRef:
    values = {"size_bytes": len(content), "hash_algo": "sha512", "hash_value": hashlib.sha512(content).hexdigest()}
    return ImageRef(str(uuid.uuid4()), disk_format, **{**values, **changes})


async def refusal(cache: ImageCache, image: ImageRef) -> str:
    with pytest.raises(ServerFault) as caught:
        await cache.fetch(image)
    return caught.value.fault.code


async def test_concurrent_requests_share_one_download(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB)
    source = Source(content)
    source.go_on.clear()
    cache, image = ImageCache(tmp_path, source), reference(content)
    asked = [asyncio.create_task(cache.fetch(image)) for _ in range(5)]
    await asyncio.sleep(0)
    asked.pop().cancel()  # one gives up; the others do not notice
    source.go_on.set()
    got = await asyncio.gather(*asked)
    assert source.opened == 1
    assert {each.path for each in got} == {tmp_path / f"{image.id}-{image.hash_value[:16]}"}
    assert got[0].path.read_bytes() == content
    assert got[0].path.stat().st_mode & 0o777 == 0o444
    await cache.fetch(image)
    assert source.opened == 1


async def test_qcow2_becomes_raw_and_zeros_stay_holes(tmp_path: Path) -> None:
    qcow2 = tmp_path / "upload.qcow2"
    await qemu_img.create(qcow2, 64 * MIB)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 1M", str(qcow2)], check=True, capture_output=True)
    base_dir = tmp_path / "_base"
    base_dir.mkdir()
    content = qcow2.read_bytes()
    got = await ImageCache(base_dir, Source(content)).fetch(reference(content, "qcow2"))
    assert got.size_bytes == got.path.stat().st_size == 64 * MIB
    assert got.path.read_bytes()[MIB : 2 * MIB] == b"\x07" * MIB
    assert got.path.stat().st_blocks * 512 < 4 * MIB
    raw = bytes(8 * MIB) + b"end"
    sparse = await ImageCache(base_dir, Source(raw)).fetch(reference(raw))
    assert sparse.path.read_bytes() == raw
    assert sparse.path.stat().st_blocks * 512 < MIB


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"hash_value": "0" * 128}, "image_unavailable"),
        ({"size_bytes": 2 * MIB + 1}, "image_unavailable"),
        ({"size_bytes": 2 * MIB - 1}, "image_unavailable"),
        ({"disk_format": "qcow2"}, "image_unsafe"),
        ({"disk_format": "docker"}, "image_unsafe"),
        ({"id": "../../../etc/passwd"}, "image_unavailable"),
    ],
)
async def test_what_is_not_as_registered_is_refused_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, object], code: str
) -> None:
    content = os.urandom(2 * MIB)
    cache = ImageCache(tmp_path, Source(content))
    image = reference(content)
    bad = ImageRef(**{name: changes.get(name, getattr(image, name)) for name in image.__struct_fields__})
    assert await refusal(cache, bad) == code
    assert list(tmp_path.iterdir()) == []


async def test_the_gate_closes_before_the_whole_image_has_come(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.touch()
    evil = tmp_path / "evil"
    make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(evil), "1M"]
    subprocess.run(make, check=True, timeout=30)
    content = evil.read_bytes() + bytes(20 * MIB)
    source = Source(content)
    source.fail_after = 5 * MIB  # would be met if the gate waited for the end
    cache_dir = tmp_path / "_base"
    cache_dir.mkdir()
    assert await refusal(ImageCache(cache_dir, source), reference(content, "qcow2")) == "image_unsafe"
    assert list(cache_dir.iterdir()) == []


async def test_a_download_that_breaks_can_be_repeated(tmp_path: Path) -> None:
    content = os.urandom(2 * MIB)
    source = Source(content)
    source.fail_after = MIB
    cache, image = ImageCache(tmp_path, source), reference(content)
    assert await refusal(cache, image) == "image_unavailable"
    source.fail_after = None
    assert (await cache.fetch(image)).path.read_bytes() == content


async def test_what_a_crash_left_is_discarded_and_never_listed(tmp_path: Path) -> None:
    (tmp_path / ".x-1.part").write_bytes(b"half")
    cache = ImageCache(tmp_path, Source(b""))
    assert cache.names() == ()
    cache.discard_partial()
    assert list(tmp_path.iterdir()) == []


async def test_only_unused_images_expire(tmp_path: Path) -> None:
    content = os.urandom(1000)
    cache = ImageCache(tmp_path, Source(content))
    used, unused, fresh = [await cache.fetch(reference(content)) for _ in range(3)]
    for each in (used, unused):
        os.utime(each.path, (1, 1))
    assert cache.expire({used.name}, 3600.0) == (unused.name,)
    assert set(cache.names()) == {used.name, fresh.name}


# --- slow senders -------------------------------------------------------------------------------------------


async def test_all_who_wait_for_a_silent_service_get_the_same_fault_and_the_next_request_begins_anew(
    tmp_path: Path,
) -> None:
    content = os.urandom(MIB)
    source = Source(content)
    source.go_on.clear()
    cache, image = ImageCache(tmp_path, source, Pace(idle_s=0.2)), reference(content)
    got = await asyncio.gather(*(cache.fetch(image) for _ in range(4)), return_exceptions=True)
    assert source.opened == source.closed == 1
    faults = {each.fault for each in got if isinstance(each, ServerFault)}
    assert [(fault.code, fault.message, fault.retryable) for fault in faults] == [(
        "image_unavailable",
        f"The image service did not deliver image {image.id}: it sent nothing for 0.2 s, after 0 MiB of 1 MiB.",
        True,
    )]
    assert list(tmp_path.iterdir()) == []
    source.go_on.set()
    assert (await cache.fetch(image)).path.read_bytes() == content


async def test_a_service_that_trickles_is_given_up_by_its_average_speed(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB)
    source = Source(content)
    source.pause_s = 0.05  # never silent for long, but 31 times
    cache, image = ImageCache(tmp_path, source, Pace(idle_s=30, grace_s=0.2, slowest_bytes_s=1e9)), reference(content)
    with pytest.raises(ServerFault, match=r"it sent \d MiB of 3 MiB in 0 s, too slowly"):
        await cache.fetch(image)
    assert source.closed == 1
    assert list(tmp_path.iterdir()) == []


async def test_a_download_ends_when_the_last_who_waits_gives_up(tmp_path: Path) -> None:
    content = os.urandom(MIB)
    source = Source(content)
    source.go_on.clear()
    cache, image = ImageCache(tmp_path, source), reference(content)
    first, second = (asyncio.create_task(cache.fetch(image)) for _ in range(2))
    async with asyncio.timeout(10):
        while not source.opened:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        assert source.closed == 0  # somebody still waits
        second.cancel()
        while not source.closed or list(tmp_path.iterdir()):
            await asyncio.sleep(0.01)
    source.go_on.set()
    assert (await cache.fetch(image)).path.read_bytes() == content
    assert source.opened == 2
