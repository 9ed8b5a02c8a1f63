"""The image API with a store that is full or hangs, and with clients that are slow on purpose."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.kernel.http.connections import Connection
from tests.cloud import Cloud
from tests.scenario.bounded.disks import SlowFile, SmallDisk

MIB = 2**20
IDLE_S = 2.0
LIMIT_S = 60.0
DOWNLOADERS = 40
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path_factory.mktemp("host") / "images", 256 * MIB) as small:
        yield small


@pytest.fixture(scope="module")
def cloud(disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    before = Connection.take_limit_s, Connection.head_limit_s
    Connection.take_limit_s, Connection.head_limit_s = 3.0, 3.0  # a minute each in earnest
    image = {"store_dir": str(disk.path), "store_idle_s": IDLE_S, "upload_idle_s": IDLE_S}
    services = ("identity", "image")
    with Cloud(tmp_path_factory.mktemp("cloud"), services=services, tables={"image": image}) as running:
        yield running
    Connection.take_limit_s, Connection.head_limit_s = before


@pytest.fixture(scope="module")
def token(cloud: Cloud) -> str:
    return cloud.admin_token()


def queued(cloud: Cloud, token: str) -> str:
    """A new image without data; its path."""
    body = {"name": "bounded", "disk_format": "raw", "container_format": "bare"}
    made = cloud.request("POST", "/image/v2/images", token=token, json=body)
    assert made.status_code == 201, made.text
    return f"/image/v2/images/{made.json()['id']}"


def status_of(cloud: Cloud, token: str, path: str) -> str:
    return cloud.request("GET", path, token=token).json()["status"]


def until(what: str, condition: Any, limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def stored(disk: SmallDisk) -> list[Path]:
    return [path for path in disk.path.iterdir() if path.name not in ("lost+found", "ballast")]


def uploaded(cloud: Cloud, token: str, size: int) -> str:
    path = queued(cloud, token)
    sent = cloud.request("PUT", path + "/file", token=token, data=os.urandom(size), headers=OCTETS)
    assert sent.status_code == 204, sent.text
    return path


def raw_request(cloud: Cloud, head: str, *, window: int | None = None) -> socket.socket:
    """A connection on which so much of a request was sent."""
    sock = socket.socket()
    if window is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.settimeout(LIMIT_S)
    sock.connect(("127.0.0.1", cloud.port))
    sock.sendall(head.encode())
    return sock


def cut_after(sock: socket.socket) -> float:
    """Seconds until the other side ended the connection."""
    begun = time.monotonic()
    try:
        while sock.recv(65_536):
            continue
    except ConnectionResetError:
        pass
    return time.monotonic() - begun


def memory_of_this_process() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("leaving", [20 * MIB, 0])
def test_an_upload_to_a_full_store_is_413_and_the_image_waits_again(
    cloud: Cloud, token: str, disk: SmallDisk, leaving: int
) -> None:
    before = stored(disk)
    path = queued(cloud, token)
    disk.fill(leaving=leaving)
    answer = cloud.request("PUT", path + "/file", token=token, data=os.urandom(64 * MIB), headers=OCTETS)
    assert answer.status_code == 413, answer.text
    assert "Image storage media is full." in answer.text
    assert status_of(cloud, token, path) == "queued"
    assert stored(disk) == before
    assert disk.free >= min(leaving, 5 * MIB)
    disk.free_up()
    again = cloud.request("PUT", path + "/file", token=token, data=os.urandom(8 * MIB), headers=OCTETS)
    assert again.status_code == 204
    assert status_of(cloud, token, path) == "active"


def test_a_store_that_hangs_is_503_for_its_readers_and_nothing_for_others(
    cloud: Cloud, token: str, disk: SmallDisk
) -> None:
    path = uploaded(cloud, token, 3 * MIB)
    (file,) = [each for each in stored(disk) if each.stat().st_size == 3 * MIB]
    with SlowFile(file) as slow:
        slow.hang()
        begun = time.monotonic()
        answer = cloud.request("GET", path + "/file", token=token)
        assert answer.status_code == 503
        assert "cannot be read now" in answer.text
        assert IDLE_S <= time.monotonic() - begun < 30
        assert status_of(cloud, token, path) == "active"  # the API answers
        other = uploaded(cloud, token, MIB)  # and so does the store, for what does not hang
        assert len(cloud.request("GET", other + "/file", token=token).content) == MIB
        slow.go_on()
        assert len(cloud.request("GET", path + "/file", token=token).content) == 3 * MIB


def test_a_store_that_hangs_half_way_ends_the_download_short(cloud: Cloud, token: str, disk: SmallDisk) -> None:
    path = uploaded(cloud, token, 5 * MIB)
    (file,) = [each for each in stored(disk) if each.stat().st_size == 5 * MIB]
    with SlowFile(file, bytes_per_s=MIB) as slow:
        sock = raw_request(cloud, f"GET {path}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"
        slow.hang()
        assert cut_after(sock) < 30
        sock.close()


def test_an_upload_that_stalls_is_408_and_leaves_nothing(cloud: Cloud, token: str, disk: SmallDisk) -> None:
    before, path = stored(disk), queued(cloud, token)
    head = (
        f"PUT {path}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {64 * MIB}\r\n\r\n"
    )
    sock = raw_request(cloud, head)
    sock.sendall(os.urandom(MIB))
    until("the upload began", lambda: status_of(cloud, token, path) == "saving")
    assert sock.recv(12) == b"HTTP/1.1 408"
    assert status_of(cloud, token, path) == "queued"
    assert stored(disk) == before
    sock.close()


def test_downloaders_that_take_nothing_are_cut_and_cost_hardly_any_memory(
    cloud: Cloud, token: str, disk: SmallDisk
) -> None:
    path = uploaded(cloud, token, 48 * MIB)
    request = f"GET {path}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n"
    before, descriptors = memory_of_this_process(), len(os.listdir("/proc/self/fd"))
    socks = [raw_request(cloud, request, window=4096) for _ in range(DOWNLOADERS)]
    most, lock, ends = 0, threading.Lock(), []

    def watch(sock: socket.socket) -> None:
        sock.recv(1)  # the answer has begun; nothing more is taken until the other side has ended it
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            if state in (7, 8):  # CLOSE, CLOSE_WAIT
                with lock:
                    ends.append(True)
                return
            time.sleep(0.05)

    watchers = [threading.Thread(target=watch, args=(sock,)) for sock in socks]
    for watcher in watchers:
        watcher.start()
    while any(watcher.is_alive() for watcher in watchers):
        most = max(most, memory_of_this_process())
        time.sleep(0.02)
    for sock in socks:
        sock.close()
    assert len(ends) == DOWNLOADERS
    assert most - before < DOWNLOADERS * 6 * MIB  # 48 MiB each otherwise
    until("all descriptors are given back", lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 2)


@pytest.mark.parametrize("start", ["", "GET / HTTP/1.1\r\nX-Slow: "])
def test_a_client_that_never_finishes_its_request_is_cut(cloud: Cloud, start: str) -> None:
    assert cut_after(raw_request(cloud, start)) < 30


def trickle(sock: socket.socket, line: bytes, pause_s: float) -> None:
    """Send header lines for as long as somebody takes them."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        sock.sendall(line)
        time.sleep(pause_s)


@pytest.mark.parametrize(("line", "pause_s"), [(b"X-More: of it\r\n", 0.1), (b"X-More: " + b"x" * 1000 + b"\r\n", 0.0)])
def test_a_head_that_does_not_end_is_cut_by_its_time_or_its_size(cloud: Cloud, line: bytes, pause_s: float) -> None:
    sock = raw_request(cloud, "GET / HTTP/1.1\r\n")
    with pytest.raises(OSError, match=r"reset|Broken"):
        trickle(sock, line, pause_s)
    sock.close()


def test_a_connection_that_is_used_lives_on(cloud: Cloud, token: str) -> None:
    sock = raw_request(cloud, "")
    for _ in range(3):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}}"):
            answer += sock.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        time.sleep(1.5)  # together longer than any limit on a silent client
    sock.close()
