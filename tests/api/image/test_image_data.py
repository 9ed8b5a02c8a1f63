"""Image data goes in and out whole, in bounded memory; what is cut off leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud import Cloud

from .conftest import Tenant
from .image_api import active_image, new_image, show, stored_files, until, upload

SERVICES = ("identity", "image")
MIB = 2**20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def begin_upload(cloud: Cloud, token: str, image_id: str, announced: int, sent: bytes) -> socket.socket:
    """An upload over a plain socket that stops before its end."""
    head = (
        f"PUT /image/v2/images/{image_id}/file HTTP/1.1\r\nHost: 127.0.0.1:{cloud.port}\r\nX-Auth-Token: {token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {announced}\r\n\r\n"
    )
    sock = socket.create_connection(("127.0.0.1", cloud.port), timeout=30)
    sock.sendall(head.encode() + sent)
    return sock


def open_files(cloud: Cloud) -> int:
    """How many of the store's files this process (the cloud is in it) has open."""
    directory, found = str(cloud.state_dir / "image" / "images"), 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(link).startswith(directory)
        except FileNotFoundError:
            continue
    return found


def pieces(count: int, block: bytes) -> Iterator[bytes]:
    for _ in range(count):
        yield block


@pytest.mark.parametrize("size", [0, 1, 65_536, MIB, 3 * MIB + 17])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_goes_in_comes_out(cloud: Cloud, ann: Tenant, size: int, chunked: bool) -> None:
    data = os.urandom(size)
    image = new_image(cloud, ann.token)
    assert upload(cloud, ann.token, image["id"], iter([data]) if chunked else data).status_code == 204
    image = show(cloud, ann.token, image["id"])
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", size, size)
    assert image["checksum"] == hashlib.md5(data).hexdigest()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    answer = cloud.request("GET", f"/image/v2/images/{image['id']}/file", token=ann.token)
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["Content-MD5"] == image["checksum"]
    assert answer.headers["Content-Length"] == str(size)
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_zeros_take_no_room(cloud: Cloud, ann: Tenant) -> None:
    data = bytes(4 * MIB) + b"end" + bytes(8 * MIB)
    before = set(stored_files(cloud))
    image = active_image(cloud, ann.token, data)
    (file,) = set(stored_files(cloud)) - before
    assert file.stat().st_size == len(data)
    assert file.stat().st_blocks * 512 < 3 * MIB
    assert cloud.request("GET", f"/image/v2/images/{image['id']}/file", token=ann.token).content == data


def test_memory_stays_bounded_for_a_long_stream(cloud: Cloud, ann: Tenant) -> None:
    """200 MiB up and down; the cloud and this client share the process whose memory is measured."""
    block = os.urandom(MIB)
    image = new_image(cloud, ann.token)
    base, most = resident_bytes(), 0

    def watched() -> Iterator[bytes]:
        nonlocal most
        for piece in pieces(200, block):
            most = max(most, resident_bytes())
            yield piece

    assert upload(cloud, ann.token, image["id"], watched()).status_code == 204
    assert show(cloud, ann.token, image["id"])["size"] == 200 * MIB
    path = f"/image/v2/images/{image['id']}/file"
    digest = hashlib.sha512()
    with cloud.request("GET", path, token=ann.token, stream=True) as answer:
        for piece in answer.iter_content(MIB):
            digest.update(piece)
            most = max(most, resident_bytes())
    assert digest.hexdigest() == show(cloud, ann.token, image["id"])["os_hash_value"]
    assert most - base < 40 * MIB
    assert cloud.request("DELETE", f"/image/v2/images/{image['id']}", token=ann.token).status_code == 204


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=990-", 990, 999), ("bytes=-10", 990, 999),
     ("bytes=0-5000", 0, 999), ("bytes=-5000", 0, 999)],
)
def test_ranges(cloud: Cloud, ann: Tenant, header: str, first: int, last: int) -> None:
    data = os.urandom(1000)
    path = f"/image/v2/images/{active_image(cloud, ann.token, data)['id']}/file"
    answer = cloud.request("GET", path, token=ann.token, headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, data[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/1000"
    assert answer.headers["Content-Length"] == str(last - first + 1)


def test_head_tells_the_size_without_reading(cloud: Cloud, ann: Tenant) -> None:
    image = active_image(cloud, ann.token, b"x" * 1000)
    answer = cloud.request("HEAD", f"/image/v2/images/{image['id']}/file", token=ann.token)
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "1000")


def test_impossible_ranges_are_416(cloud: Cloud, ann: Tenant) -> None:
    path = f"/image/v2/images/{active_image(cloud, ann.token, b'x' * 1000)['id']}/file"
    for header in ("bytes=1000-", "bytes=20-10", "bytes=-0", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", "bytes=-"):
        answer = cloud.request("GET", path, token=ann.token, headers={"Range": header})
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */1000"), header
    legacy = cloud.request("GET", path, token=ann.token, headers={"Content-Range": "bytes 0-9/*"})
    assert (legacy.status_code, legacy.content) == (206, b"x" * 10)


def test_a_queued_image_has_no_content(cloud: Cloud, ann: Tenant) -> None:
    answer = cloud.request("GET", f"/image/v2/images/{new_image(cloud, ann.token)['id']}/file", token=ann.token)
    assert (answer.status_code, answer.content) == (204, b"")


def test_data_is_never_replaced(cloud: Cloud, ann: Tenant) -> None:
    image = active_image(cloud, ann.token, b"first")
    again = upload(cloud, ann.token, image["id"], b"second")
    assert again.status_code == 409
    assert "Image status transition from active to saving is not allowed" in again.text
    assert cloud.request("GET", f"/image/v2/images/{image['id']}/file", token=ann.token).content == b"first"


def test_uploads_that_are_refused_at_once(cloud: Cloud, ann: Tenant, bob: Tenant) -> None:
    image = new_image(cloud, ann.token, visibility="community")
    path = f"/image/v2/images/{image['id']}/file"
    for wrong in ("application/json", "text/plain", ""):
        answer = cloud.request("PUT", path, token=ann.token, data=b"x", headers={"Content-Type": wrong})
        assert answer.status_code == 415
    assert upload(cloud, bob.token, image["id"], b"x").status_code == 403
    assert upload(cloud, ann.token, image["id"], b"x", X_Image_Meta_Store="elsewhere").status_code == 400
    assert upload(cloud, ann.token, image["id"], b"xyz", X_OpenStack_Image_Size="7").status_code == 400
    assert upload(cloud, ann.token, image["id"], b"xyz", X_OpenStack_Image_Size="many").status_code == 400
    with begin_upload(cloud, ann.token, image["id"], 2**50, b"x") as sock:
        assert sock.recv(65_536).startswith(b"HTTP/1.1 413")
    bare = new_image(cloud, ann.token, disk_format=None)
    answer = upload(cloud, ann.token, bare["id"], b"x")
    assert (answer.status_code, "disk_format" in answer.text) == (400, True)
    assert upload(cloud, ann.token, "no-such-image", b"x").status_code == 404
    assert show(cloud, ann.token, image["id"])["status"] == "queued"


def test_a_stream_that_is_not_as_long_as_announced_is_freed(cloud: Cloud, ann: Tenant) -> None:
    before = stored_files(cloud)
    image = new_image(cloud, ann.token)
    for size in ("2", "2000000"):
        answer = upload(cloud, ann.token, image["id"], pieces(3, b"abc"), X_OpenStack_Image_Size=size)
        assert (answer.status_code, "announced" in answer.text) == (400, True)
    assert show(cloud, ann.token, image["id"])["status"] == "queued"
    assert stored_files(cloud) == before


def test_a_cut_off_upload_leaves_nothing_and_can_be_repeated(cloud: Cloud, ann: Tenant) -> None:
    before = stored_files(cloud)
    image = new_image(cloud, ann.token)
    sock = begin_upload(cloud, ann.token, image["id"], 100 * MIB, os.urandom(5 * MIB))
    until(lambda: len(stored_files(cloud)) > len(before))
    assert show(cloud, ann.token, image["id"])["status"] == "saving"
    assert upload(cloud, ann.token, image["id"], b"meanwhile").status_code == 409
    assert cloud.request("GET", f"/image/v2/images/{image['id']}/file", token=ann.token).status_code == 204
    sock.close()
    until(lambda: show(cloud, ann.token, image["id"])["status"] == "queued")
    until(lambda: stored_files(cloud) == before)
    assert upload(cloud, ann.token, image["id"], b"at last").status_code == 204
    assert show(cloud, ann.token, image["id"])["size"] == 7


def test_two_uploads_at_once_have_one_winner(cloud: Cloud, ann: Tenant) -> None:
    image = new_image(cloud, ann.token)
    statuses: list[int] = []

    def send(data: bytes) -> None:
        import requests

        path = f"{cloud.url}/image/v2/images/{image['id']}/file"
        headers = {"X-Auth-Token": ann.token, "Content-Type": "application/octet-stream"}
        statuses.append(requests.put(path, data=data, headers=headers, timeout=30).status_code)

    before = len(stored_files(cloud))
    threads = [threading.Thread(target=send, args=(bytes([n]) * MIB,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [204, 409, 409, 409]
    assert len(stored_files(cloud)) == before + 1


def test_an_image_deleted_during_its_upload(cloud: Cloud, ann: Tenant) -> None:
    before = stored_files(cloud)
    image = new_image(cloud, ann.token)
    sock = begin_upload(cloud, ann.token, image["id"], 4 * MIB, bytes(MIB) + b"x")
    until(lambda: show(cloud, ann.token, image["id"])["status"] == "saving")
    assert cloud.request("DELETE", f"/image/v2/images/{image['id']}", token=ann.token).status_code == 204
    sock.sendall(bytes(3 * MIB - 1))
    assert sock.recv(65_536).split(b"\r\n")[0].startswith(b"HTTP/1.1 410")
    sock.close()
    until(lambda: stored_files(cloud) == before)


def test_a_download_survives_the_deletion_of_its_image(cloud: Cloud, ann: Tenant) -> None:
    data = os.urandom(8 * MIB)
    before = stored_files(cloud)
    image = active_image(cloud, ann.token, data)
    path = f"/image/v2/images/{image['id']}"
    with cloud.request("GET", f"{path}/file", token=ann.token, stream=True) as answer:
        first = answer.raw.read(1000)
        assert cloud.request("DELETE", path, token=ann.token).status_code == 204
        assert first + answer.raw.read() == data
    assert stored_files(cloud) == before


def test_downloads_that_are_broken_off_leave_no_file_open(cloud: Cloud, ann: Tenant) -> None:
    image = active_image(cloud, ann.token, os.urandom(8 * MIB))
    for _ in range(5):
        head = f"GET /image/v2/images/{image['id']}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {ann.token}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", cloud.port), timeout=30) as sock:
            sock.sendall(head.encode())
            assert sock.recv(100)
    until(lambda: open_files(cloud) == 0)


def test_siblings_read_data_in_process(cloud: Cloud, admin: str, ann: Tenant) -> None:
    """As the agent does: the service's own session streams a private image."""
    data = os.urandom(2 * MIB + 5)
    image = active_image(cloud, ann.token, data)
    assert cloud.node is not None
    session = cloud.node.runtimes["image"].session
    path = f"/v2/images/{image['id']}/file"

    async def read(most: int) -> bytes:
        found = b""
        async for chunk in session.stream("image", path):
            found += chunk
            if len(found) >= most:
                break
        return found

    assert cloud.run(read(len(data))) == data
    # One that loses interest leaves no file open.
    assert data.startswith(cloud.run(read(1)))
    until(lambda: open_files(cloud) == 0)
