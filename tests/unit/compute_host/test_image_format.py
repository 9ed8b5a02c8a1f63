"""The format gate refuses what could make a tool read another file, and never fails in an undeclared way."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pileus.kernel.host.image_format import (
    MAX_VIRTUAL_BYTES,
    PREFIX_BYTES,
    FormatInspector,
    ImageFormatError,
    UnsafeImage,
    check_safe,
    inspect,
    inspect_file,
)

MIB = 2**20


def make_image(path: Path, image_format: str, size: str = "8M", options: str = "", *more: str) -> Path:
    argv = ["qemu-img", "create", "-q", "-f", image_format]
    argv += ["-o", options] if options else []
    subprocess.run([*argv, *more, str(path), size], check=True, timeout=30, capture_output=True)
    return path


def refusal(data: bytes, declared: str) -> str:
    with pytest.raises(UnsafeImage) as caught:
        check_safe(inspect(data, len(data)), declared)
    return str(caught.value)


@pytest.mark.parametrize(
    ("image_format", "options", "size"),
    [
        ("qcow2", "", 8 * MIB),
        ("qcow2", "compat=0.10", 8 * MIB),
        ("qcow2", "compression_type=zstd", 8 * MIB),
        ("qcow2", "extended_l2=on,cluster_size=128k", 8 * MIB),
        ("qcow2", "cluster_size=512", 8 * MIB),
        ("vmdk", "", 8 * MIB),
        ("vmdk", "subformat=streamOptimized", 8 * MIB),
        ("vdi", "", 8 * MIB),
        ("vhd", "", None),
        ("raw", "", 8 * MIB),
    ],
)
def test_accepts_what_qemu_img_makes(tmp_path: Path, image_format: str, options: str, size: int | None) -> None:
    tool_name = {"vhd": "vpc"}.get(image_format, image_format)
    facts = inspect_file(make_image(tmp_path / "disk", tool_name, "8M", options))
    assert facts.format == image_format
    assert size is None or facts.virtual_size == size
    check_safe(facts, image_format)


def test_refuses_a_backing_file_that_qemu_img_made(tmp_path: Path) -> None:
    base = make_image(tmp_path / "base", "raw")
    overlay = make_image(tmp_path / "overlay", "qcow2", "8M", "", "-F", "raw", "-b", str(base))
    assert "backing file" in refusal(overlay.read_bytes(), "qcow2")


def test_refuses_an_external_data_file_that_qemu_img_made(tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk", "qcow2", "8M", f"data_file={tmp_path / 'data'}")
    assert "external data file" in refusal(image.read_bytes(), "qcow2")


def test_refuses_a_data_file_name_without_its_feature_bit(tmp_path: Path) -> None:
    data = bytearray(make_image(tmp_path / "disk", "qcow2", "8M", f"data_file={tmp_path / 'data'}").read_bytes())
    (bits,) = struct.unpack_from(">Q", data, 72)
    struct.pack_into(">Q", data, 72, bits & ~4)
    assert "external data file" in refusal(bytes(data), "qcow2")


@pytest.mark.parametrize("method", [1, 2])
def test_refuses_encryption(tmp_path: Path, method: int) -> None:
    """AES and LUKS by the header's field: qemu-img first measures the processor to make one, and can fail at that."""
    data = bytearray(make_image(tmp_path / "disk", "qcow2").read_bytes())
    struct.pack_into(">I", data, 32, method)
    assert "encrypted" in refusal(bytes(data), "qcow2")


def test_refuses_a_luks_disk() -> None:
    assert "luks" in refusal(b"LUKS\xba\xbe\0\1".ljust(4096, b"\0"), "raw")


@pytest.mark.parametrize(
    ("offset", "value", "text"),
    [
        (72, struct.pack(">Q", 1 << 40), "unknown qcow2 features"),
        (72, struct.pack(">Q", 2), "corrupt"),
        (36, struct.pack(">I", 2**31), "L1 table is larger"),
        (36, struct.pack(">I", 0), "L1 table is too small"),
        (24, struct.pack(">Q", 2**50), "virtual size"),
        (56, struct.pack(">I", 2**20), "refcount table"),
        (60, struct.pack(">I", 2**20), "snapshots"),
        (40, struct.pack(">Q", 3), "aligned"),
    ],
)
def test_refuses_hostile_qcow2_fields(tmp_path: Path, offset: int, value: bytes, text: str) -> None:
    data = bytearray(make_image(tmp_path / "disk", "qcow2").read_bytes())
    data[offset : offset + len(value)] = value
    if text == "virtual size":
        struct.pack_into(">I", data, 36, 2**21)
    assert text in refusal(bytes(data), "qcow2")


def test_a_petabyte_is_refused_and_the_limit_can_be_lower(tmp_path: Path) -> None:
    facts = inspect_file(make_image(tmp_path / "disk", "qcow2", "2G"))
    check_safe(facts, "qcow2", max_virtual_bytes=2 * 2**30)
    with pytest.raises(UnsafeImage, match="virtual size"):
        check_safe(facts, "qcow2", max_virtual_bytes=2 * 2**30 - 1)
    assert MAX_VIRTUAL_BYTES < 2**50


def test_declared_format_must_be_the_real_one(tmp_path: Path) -> None:
    qcow2 = make_image(tmp_path / "disk", "qcow2").read_bytes()
    for declared in ("raw", "ami", "aki", "ari", "vmdk", "iso", "vhd"):
        assert "declared as" in refusal(qcow2, declared)
    assert "declared as" in refusal(b"\0" * 512, "qcow2")


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse"])
def test_refuses_vmdk_with_extents_elsewhere(tmp_path: Path, subformat: str) -> None:
    image = make_image(tmp_path / "disk.vmdk", "vmdk", "8M", f"subformat={subformat}")
    assert "names other files" in refusal(image.read_bytes(), "vmdk")


def test_refuses_vmdk_extent_with_a_path_in_an_embedded_descriptor(tmp_path: Path) -> None:
    data = make_image(tmp_path / "disk.vmdk", "vmdk").read_bytes()
    assert b'SPARSE "disk.vmdk"' in data
    hostile = data.replace(b'SPARSE "disk.vmdk"', b'FLAT "/etc/shadow"')
    assert "another file" in refusal(hostile, "vmdk")


def test_mbr_gpt_and_iso_are_fine_as_raw() -> None:
    disk = bytearray(MIB)
    disk[510:512] = b"\x55\xaa"
    assert inspect(bytes(disk)).partition_table == "mbr"
    check_safe(inspect(bytes(disk)), "raw")
    disk[512:520] = b"EFI PART"
    assert inspect(bytes(disk)).partition_table == "gpt"
    check_safe(inspect(bytes(disk)), "raw")
    disk[32769:32774] = b"CD001"
    check_safe(inspect(bytes(disk)), "iso")
    check_safe(inspect(bytes(disk)), "raw")


def test_a_stream_in_small_chunks_gives_the_same_facts(tmp_path: Path) -> None:
    data = make_image(tmp_path / "disk", "qcow2").read_bytes()
    inspector = FormatInspector()
    for start in range(0, len(data), 777):
        inspector.feed(data[start : start + 777])
    assert inspector.ready
    assert inspector.total_bytes == len(data)
    assert inspector.facts() == inspect(data, len(data))


def test_short_and_empty_input_is_judged() -> None:
    assert inspect(b"", 0).format == "raw"
    with pytest.raises(ImageFormatError):
        inspect(b"QFI\xfb")


HEADS = {
    "qcow2": struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 16, 8 * MIB, 0, 1, 0x30000, 0x10000, 1, 0, 0)
    + struct.pack(">QQQIIQ", 0, 0, 0, 4, 112, 0),
    "vmdk": struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, 16384, 128, 1, 20).ljust(512, b"\0")
    + b'createType="monolithicSparse"\nRW 16384 SPARSE "a.vmdk"\n',
    "vhd": b"conectix".ljust(512, b"\0"),
    "vdi": b"<<< VDI >>>".ljust(64, b"\0") + b"\x7f\x10\xda\xbe" + bytes(400),
}


@settings(max_examples=1000, deadline=None)
@given(
    name=st.sampled_from(sorted(HEADS)),
    edits=st.lists(st.tuples(st.integers(0, 1200), st.binary(min_size=1, max_size=9)), max_size=6),
    length=st.integers(0, PREFIX_BYTES + 10),
)
def test_mutated_headers_raise_nothing_but_the_declared_error(
    name: str, edits: list[tuple[int, bytes]], length: int
) -> None:
    data = bytearray(HEADS[name].ljust(4096, b"\0"))
    for offset, value in edits:
        data[offset : offset + len(value)] = value
    try:
        facts = inspect(bytes(data[:length]), length)
        check_safe(facts, name)
    except ImageFormatError:
        return
    assert facts.format == name
    assert not facts.backing_file
    assert not facts.data_file
