"""The gate: content that is not what was declared, or that a tool could be fooled by, never becomes an image."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud import Cloud

from .conftest import Tenant
from .image_api import active_image, new_image, show, stored_files, upload

SERVICES = ("identity", "image")
MIB = 2**20


def qemu_image(path: Path, image_format: str, *options: str, size: str = "8M") -> bytes:
    argv = ["qemu-img", "create", "-q", "-f", image_format, *options, str(path), size]
    subprocess.run(argv, check=True, timeout=30, capture_output=True)
    return path.read_bytes()


def refused(cloud: Cloud, ann: Tenant, data: bytes, declared: str, text: str) -> None:
    before = stored_files(cloud)
    image = new_image(cloud, ann.token, disk_format=declared)
    answer = upload(cloud, ann.token, image["id"], data)
    assert answer.status_code == 415, answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    assert text in answer.text
    after = show(cloud, ann.token, image["id"])
    assert (after["status"], after["size"], after["checksum"]) == ("queued", None, None)
    assert stored_files(cloud) == before
    assert cloud.request("GET", f"/image/v2/images/{image['id']}/file", token=ann.token).status_code == 204


@pytest.mark.parametrize(("image_format", "declared"), [("qcow2", "qcow2"), ("vdi", "vdi"), ("vmdk", "vmdk")])
def test_good_images_pass_with_their_virtual_size(
    cloud: Cloud, ann: Tenant, tmp_path: Path, image_format: str, declared: str
) -> None:
    data = qemu_image(tmp_path / "disk", image_format)
    image = active_image(cloud, ann.token, data, disk_format=declared)
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", len(data), 8 * MIB)


def test_a_backing_file_is_refused(cloud: Cloud, ann: Tenant, tmp_path: Path) -> None:
    data = qemu_image(tmp_path / "disk", "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd")
    refused(cloud, ann, data, "qcow2", "backing file")


def test_a_data_file_is_refused(cloud: Cloud, ann: Tenant, tmp_path: Path) -> None:
    data = qemu_image(tmp_path / "disk", "qcow2", "-o", f"data_file={tmp_path / 'secret'},data_file_raw=on")
    refused(cloud, ann, data, "qcow2", "data file")


def test_a_vmdk_that_names_another_file_is_refused(cloud: Cloud, ann: Tenant, tmp_path: Path) -> None:
    data = qemu_image(tmp_path / "disk.vmdk", "vmdk")
    hostile = data.replace(b'SPARSE "disk.vmdk"', b'FLAT "/etc/shadow"')
    assert hostile != data
    refused(cloud, ann, hostile, "vmdk", "another file")
    bare = b'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 16384 FLAT "/etc/shadow" 0\n'
    refused(cloud, ann, bare, "vmdk", "descriptor")


def test_a_petabyte_is_refused(cloud: Cloud, ann: Tenant, tmp_path: Path) -> None:
    data = bytearray(qemu_image(tmp_path / "disk", "qcow2"))
    struct.pack_into(">Q", data, 24, 2**50)
    refused(cloud, ann, bytes(data), "qcow2", "virtual size")


def test_content_must_be_what_was_declared(cloud: Cloud, ann: Tenant, tmp_path: Path) -> None:
    qcow2 = qemu_image(tmp_path / "disk", "qcow2")
    for declared in ("raw", "iso", "ami", "vmdk"):
        refused(cloud, ann, qcow2, declared, "declared as")
    refused(cloud, ann, os.urandom(100_000), "qcow2", "declared as")
    refused(cloud, ann, b"", "qcow2", "declared as")


def size_of(file: Path) -> int:
    """0 for one that has just been given up."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def test_hostile_content_is_cut_off_early(cloud: Cloud, ann: Tenant, tmp_path: Path) -> None:
    """The header decides: what follows is not taken in."""
    head = qemu_image(tmp_path / "disk", "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd")
    before = stored_files(cloud)
    image = new_image(cloud, ann.token, disk_format="qcow2")

    def stream() -> Iterator[bytes]:
        yield head.ljust(MIB, b"\0")
        for _ in range(30):
            yield bytes(MIB)
            assert sum(size_of(file) for file in set(stored_files(cloud)) - set(before)) <= 4 * MIB

    assert upload(cloud, ann.token, image["id"], stream()).status_code == 415
    assert stored_files(cloud) == before


def test_a_refused_image_can_be_filled_properly(cloud: Cloud, ann: Tenant, tmp_path: Path) -> None:
    image = new_image(cloud, ann.token, disk_format="qcow2")
    assert upload(cloud, ann.token, image["id"], b"junk").status_code == 415
    assert upload(cloud, ann.token, image["id"], qemu_image(tmp_path / "disk", "qcow2")).status_code == 204


def test_without_enforcement_junk_is_stored(tmp_path: Path) -> None:
    """What conformance suites need. No virtual size is claimed for what was not recognised."""
    tables = {"image": {"format_enforcement": False}}
    with Cloud(tmp_path / "state", services=SERVICES, tables=tables) as cloud:
        ann = Tenant(*cloud.new_project("ann"))
        for declared, data in (("qcow2", os.urandom(1024)), ("raw", qemu_image(tmp_path / "disk", "qcow2")),
                               ("vmdk", b"QFI\xfb")):
            image = active_image(cloud, ann.token, data, disk_format=declared)
            assert (image["status"], image["size"], image["virtual_size"]) == ("active", len(data), None)
