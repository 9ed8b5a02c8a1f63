"""Quotas and limits hold, and what goes over them is cut off and freed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cloud import Cloud

from .conftest import Tenant
from .image_api import OCTETS, active_image, new_image, show, stored_files, until, upload

SERVICES = ("identity", "image")
MIB = 2**20
TABLE = {
    "image_count_total": 4, "image_size_total": 3, "image_count_uploading": 1, "max_image_bytes": 2 * MIB,
    "max_members": 2, "upload_idle_s": 0.5,
}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path, services=SERVICES, tables={"image": TABLE}) as running:
        yield running


@pytest.fixture
def ann(cloud: Cloud) -> Tenant:
    return Tenant(*cloud.new_project("ann"))


def usage(cloud: Cloud, token: str, name: str) -> tuple[int, int]:
    found = cloud.request("GET", "/image/v2/info/usage", token=token).json()["usage"][name]
    return found["usage"], found["limit"]


def test_number_of_images(cloud: Cloud, ann: Tenant) -> None:
    made = [new_image(cloud, ann.token) for _ in range(4)]
    answer = cloud.request("POST", "/image/v2/images", token=ann.token, json={})
    assert (answer.status_code, "image_count_total" in answer.text) == (413, True)
    assert usage(cloud, ann.token, "image_count_total") == (4, 4)
    # Nobody can fill another project's quota up, and a deleted image makes room.
    assert cloud.request("DELETE", f"/image/v2/images/{made[0]['id']}", token=ann.token).status_code == 204
    new_image(cloud, ann.token)


def test_stored_bytes(cloud: Cloud, ann: Tenant) -> None:
    active_image(cloud, ann.token, bytes(2 * MIB))
    before = stored_files(cloud)
    image = new_image(cloud, ann.token)
    answer = upload(cloud, ann.token, image["id"], bytes(MIB + 1))
    assert (answer.status_code, "image_size_total" in answer.text) == (413, True)
    # Not announced: it is cut off where the room ends.
    assert upload(cloud, ann.token, image["id"], iter([bytes(MIB), b"x"])).status_code == 413
    assert show(cloud, ann.token, image["id"])["status"] == "queued"
    assert stored_files(cloud) == before
    assert upload(cloud, ann.token, image["id"], iter([bytes(MIB)])).status_code == 204
    assert usage(cloud, ann.token, "image_size_total") == (3, 3)
    full = new_image(cloud, ann.token)
    assert upload(cloud, ann.token, full["id"], b"x").status_code == 413


def test_longest_image(cloud: Cloud, ann: Tenant) -> None:
    image = new_image(cloud, ann.token)
    for data in (bytes(2 * MIB + 1), iter([bytes(MIB), bytes(MIB), b"x"])):
        answer = upload(cloud, ann.token, image["id"], data)
        assert (answer.status_code, "too large" in answer.text) == (413, True)
    assert stored_files(cloud) == []


def test_uploads_at_once_and_stalled_ones(cloud: Cloud, ann: Tenant) -> None:
    slow, other = new_image(cloud, ann.token), new_image(cloud, ann.token)
    go_on = threading.Event()
    answers: list[int] = []

    def stalling() -> Iterator[bytes]:
        yield b"begun"
        go_on.wait(20)
        yield b"too late"

    def send() -> None:
        path = f"{cloud.url}/image/v2/images/{slow['id']}/file"
        try:
            answer = requests.put(path, data=stalling(), headers=OCTETS | {"X-Auth-Token": ann.token}, timeout=30)
            answers.append(answer.status_code)
        except requests.ConnectionError:
            answers.append(408)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        until(lambda: show(cloud, ann.token, slow["id"])["status"] == "saving")
        answer = upload(cloud, ann.token, other["id"], b"x")
        assert (answer.status_code, "image_count_uploading" in answer.text) == (413, True)
        until(lambda: show(cloud, ann.token, slow["id"])["status"] == "queued")
    finally:
        go_on.set()
        thread.join()
    assert answers == [408]
    until(lambda: stored_files(cloud) == [])
    assert upload(cloud, ann.token, other["id"], os.urandom(10)).status_code == 204


def test_number_of_members(cloud: Cloud, ann: Tenant) -> None:
    path = f"/image/v2/images/{new_image(cloud, ann.token, visibility='shared')['id']}/members"
    for number in range(2):
        assert cloud.request("POST", path, token=ann.token, json={"member": f"m{number}"}).status_code == 200
    answer = cloud.request("POST", path, token=ann.token, json={"member": "one-more"})
    assert (answer.status_code, "members" in answer.text) == (413, True)
