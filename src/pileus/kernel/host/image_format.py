"""The format gate: what a disk image really is, decided in Python before any tool opens it.

Two calls. `inspect` (or `FormatInspector`, for a stream) reads the first `PREFIX_BYTES` and says what is
there, as `ImageFacts`. `check_safe` compares the facts with the format that the uploader declared and raises
`UnsafeImage` for everything that could make a tool read another file, take unbounded memory, or misread the
bytes (security classes 1 to 6).

The inspector trusts nothing: it never follows an offset out of the prefix and raises only `ImageFormatError`,
for headers so broken that nothing can be said about them.

Sources: QEMU docs/interop/qcow2.txt; VMware "Virtual Disk Format 5.0"; Microsoft "VHD specification" 1.0;
ECMA-119; UEFI 2.10 ch. 5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

PREFIX_BYTES: Final = 64 * 1024  # every header that is accepted lies within this
MAX_VIRTUAL_BYTES: Final = 64 * 2**40
MAX_L1_ENTRIES: Final = 4 * 2**20  # 32 MiB of table, the most that QEMU itself loads
MAX_REFCOUNT_TABLE_BYTES: Final = 8 * 2**20
MAX_SNAPSHOTS: Final = 1024
MAX_HEADER_EXTENSIONS: Final = 64

RAW_LIKE: Final = frozenset({"raw", "ami", "aki", "ari"})
"""Declared formats whose bytes are used as they are."""


class ImageFormatError(ValueError):
    """The bytes cannot be judged, or were judged unsafe. The text may be shown to the uploader."""


class UnsafeImage(ImageFormatError):
    """`check_safe` refuses the image."""


class ImageFacts(msgspec.Struct, frozen=True):
    """What the header says.

    `format` is one of raw, iso, qcow2, qcow, qed, vmdk, vhd, vhdx, vdi, luks, parallels, bochs, cloop; raw
    stands for "no known header" and includes disks with an MBR or GPT (`partition_table`). `virtual_size` is
    in bytes, None where the header does not tell. `problems` are reasons why no tool may open the image, in
    words for the uploader.
    """

    format: str
    virtual_size: int | None = None
    partition_table: str | None = None
    backing_file: bool = False
    data_file: bool = False
    encrypted: bool = False
    unknown_features: tuple[int, ...] = ()
    cluster_size: int | None = None
    snapshots: int = 0
    problems: tuple[str, ...] = ()


# --- qcow2 --------------------------------------------------------------------------------------------------

_QCOW_MAGIC: Final = b"QFI\xfb"
_QCOW2_V2: Final = struct.Struct(">4sIQIIQIIQQIIQ")
_QCOW2_V3: Final = struct.Struct(">QQQII")
_V2_LENGTH: Final = 72
_V3_LENGTH: Final = 104
_INCOMPATIBLE: Final = {0: "dirty", 1: "corrupt", 2: "external data file", 3: "compression type", 4: "extended L2"}
_CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = 1 << 1, 1 << 2, 1 << 3, 1 << 4
_EXT_END: Final = 0
_EXT_DATA_FILE: Final = 0x44415441
_EXT_ENCRYPTION: Final = 0x0537BE77
_ZLIB, _ZSTD = 0, 1


def _qcow2(prefix: bytes) -> ImageFacts:
    if len(prefix) < _V2_LENGTH:
        raise ImageFormatError("The qcow2 header is cut off.")
    (_, version, backing_offset, backing_length, cluster_bits, size, crypt, l1_entries, l1_offset, refcount_offset,
     refcount_clusters, snapshots, _) = _QCOW2_V2.unpack_from(prefix)
    if version == 1:
        return ImageFacts("qcow", problems=("The old qcow (version 1) format is not accepted.",))
    if version not in (2, 3):
        raise ImageFormatError(f"qcow2 version {version} is not known.")
    if not 9 <= cluster_bits <= 21:
        raise ImageFormatError("The qcow2 cluster size is out of range.")
    incompatible, header_length, compression = 0, _V2_LENGTH, _ZLIB
    if version == 3:
        if len(prefix) < _V3_LENGTH:
            raise ImageFormatError("The qcow2 header is cut off.")
        incompatible, _, _, refcount_order, header_length = _QCOW2_V3.unpack_from(prefix, _V2_LENGTH)
        if header_length < _V3_LENGTH or header_length % 8 or header_length > 1 << cluster_bits or refcount_order > 6:
            raise ImageFormatError("The qcow2 header is malformed.")
        compression = prefix[_V3_LENGTH] if header_length > _V3_LENGTH and len(prefix) > _V3_LENGTH else _ZLIB
    extensions = list(_qcow2_extensions(prefix, header_length, 1 << cluster_bits))
    unknown = tuple(bit for bit in range(64) if incompatible >> bit & 1 and bit not in _INCOMPATIBLE)
    entry_bytes = 16 if incompatible & _EXTENDED_L2 else 8
    bytes_per_l1_entry = (1 << cluster_bits) * ((1 << cluster_bits) // entry_bytes)
    aligned = l1_offset % (1 << cluster_bits) == 0 and refcount_offset % (1 << cluster_bits) == 0
    data_file = bool(incompatible & _DATA_FILE) or _EXT_DATA_FILE in extensions
    encrypted = crypt != 0 or _EXT_ENCRYPTION in extensions
    backing = backing_offset != 0 or backing_length != 0
    problems = [
        (backing, "The image has a backing file."),
        (data_file, "The image has an external data file."),
        (bool(unknown), f"The image needs unknown qcow2 features (bits {', '.join(map(str, unknown))})."),
        (bool(incompatible & _CORRUPT), "The image is marked corrupt."),
        (encrypted, "The image is encrypted."),
        (compression not in (_ZLIB, _ZSTD), "The image uses an unknown compression type."),
        ((compression != _ZLIB) != bool(incompatible & _COMPRESSION), "Compression type and feature bits disagree."),
        (l1_entries > MAX_L1_ENTRIES, "The L1 table is larger than any tool accepts."),
        (l1_entries < -(-size // bytes_per_l1_entry), "The L1 table is too small for the virtual size."),
        (refcount_clusters << cluster_bits > MAX_REFCOUNT_TABLE_BYTES, "The refcount table is too large."),
        (snapshots > MAX_SNAPSHOTS, "The image has too many internal snapshots."),
        (not aligned, "The image's tables are not aligned to its clusters."),
    ]
    return ImageFacts(
        "qcow2", size, backing_file=backing, data_file=data_file, encrypted=encrypted, unknown_features=unknown,
        cluster_size=1 << cluster_bits, snapshots=snapshots, problems=tuple(text for found, text in problems if found),
    )


def _qcow2_extensions(prefix: bytes, start: int, cluster_size: int) -> Iterator[int]:
    """Types of the header extensions. The list must end inside the prefix and inside the first cluster."""
    offset, end = start, min(len(prefix), cluster_size)
    for _ in range(MAX_HEADER_EXTENSIONS):
        if offset + 8 > end:
            if offset >= len(prefix) and len(prefix) < PREFIX_BYTES:
                return  # the whole file ends here: an image without extensions
            if offset >= cluster_size:
                return
            raise ImageFormatError("The qcow2 header extensions do not end where they should.")
        kind, length = struct.unpack_from(">II", prefix, offset)
        if kind == _EXT_END:
            return
        yield kind
        offset += 8 + (length + 7 & ~7)
    raise ImageFormatError("The qcow2 header has too many extensions.")


# --- vmdk ---------------------------------------------------------------------------------------------------

_VMDK_HEADER: Final = struct.Struct("<4sIIQQQQ")
_SECTOR: Final = 512
_VMDK_SINGLE_FILE: Final = frozenset({"monolithicsparse", "streamoptimized"})


def _vmdk(prefix: bytes) -> ImageFacts:
    if len(prefix) < _VMDK_HEADER.size:
        raise ImageFormatError("The VMDK header is cut off.")
    _, _, _, capacity, _, descriptor_offset, descriptor_sectors = _VMDK_HEADER.unpack_from(prefix)
    start, end = descriptor_offset * _SECTOR, (descriptor_offset + descriptor_sectors) * _SECTOR
    problems: list[str] = []
    if descriptor_offset == 0 or descriptor_sectors == 0 or end > len(prefix):
        problems.append("The VMDK descriptor is missing or out of reach.")
    else:
        problems += _vmdk_descriptor(prefix[start:end].split(b"\0", 1)[0])
    return ImageFacts("vmdk", capacity * _SECTOR, problems=tuple(problems))


def _vmdk_descriptor(text: bytes) -> Iterator[str]:
    """Problems of an embedded descriptor: anything that names another file."""
    create_type, extents = b"", 0
    for line in text.splitlines():
        key, _, value = line.strip().partition(b"=")
        key, value = key.strip().lower(), value.strip().strip(b'"').lower()
        words = line.split()
        if key == b"createtype":
            create_type = value
        elif key == b"parentcid" and value != b"ffffffff":
            yield "The VMDK has a parent disk."
        elif key == b"parentfilenamehint":
            yield "The VMDK names a parent disk."
        elif words and words[0].upper() in (b"RW", b"RDONLY", b"NOACCESS"):
            extents += 1
            if len(words) < 4 or words[2].upper() != b"SPARSE" or b"/" in line or b"\\" in line:
                yield "The VMDK has an extent in another file."
    if create_type.decode("latin-1") not in _VMDK_SINGLE_FILE:
        yield "Only the VMDK types monolithicSparse and streamOptimized are accepted."
    if extents != 1:
        yield "The VMDK must have exactly one extent."


# --- others -------------------------------------------------------------------------------------------------

_VHD_DIFFERENCING: Final = 4
_VDI_SIGNATURE: Final = b"\x7f\x10\xda\xbe"
_VDI_PLAIN_TYPES: Final = frozenset({1, 2})  # dynamic, fixed; others depend on another image


def _vhd(prefix: bytes) -> ImageFacts:
    if len(prefix) < _SECTOR:
        raise ImageFormatError("The VHD header is cut off.")
    (size,), (kind,) = struct.unpack_from(">Q", prefix, 48), struct.unpack_from(">I", prefix, 60)
    problems = ("The VHD depends on a parent disk.",) if kind == _VHD_DIFFERENCING else ()
    return ImageFacts("vhd", size, backing_file=bool(problems), problems=problems)


def _vdi(prefix: bytes) -> ImageFacts:
    if len(prefix) < _SECTOR:
        raise ImageFormatError("The VDI header is cut off.")
    (kind,), (size,) = struct.unpack_from("<I", prefix, 76), struct.unpack_from("<Q", prefix, 368)
    problems = () if kind in _VDI_PLAIN_TYPES else ("The VDI depends on another image.",)
    return ImageFacts("vdi", size, backing_file=bool(problems), problems=problems)


def _refused(name: str) -> Callable[[bytes], ImageFacts]:
    facts = ImageFacts(name, problems=(f"Images in {name} format are not accepted: their content cannot be checked.",))
    return lambda prefix: facts


def _vmdk_text(prefix: bytes) -> ImageFacts:
    return ImageFacts("vmdk", problems=("The VMDK is a bare descriptor that names other files.",))


_SIGNATURES: Final[tuple[tuple[int, bytes, Callable[[bytes], ImageFacts]], ...]] = (
    (0, _QCOW_MAGIC, _qcow2),
    (0, b"KDMV", _vmdk),
    (0, b"COWD", _refused("vmdk")),
    (0, b"# Disk DescriptorFile", _vmdk_text),
    (0, b"conectix", _vhd),
    (0, b"vhdxfile", _refused("vhdx")),
    (64, _VDI_SIGNATURE, _vdi),
    (0, b"QED\0", _refused("qed")),
    (0, b"LUKS\xba\xbe", _refused("luks")),
    (0, b"WithoutFreeSpace", _refused("parallels")),
    (0, b"WithouFreSpacExt", _refused("parallels")),
    (0, b"Bochs Virtual HD Image", _refused("bochs")),
    (0, b"#!/bin/sh\n#V2.0 Format", _refused("cloop")),
)
_ISO_MAGIC: Final = b"CD001"
_ISO_OFFSET: Final = 32769


def _plain(prefix: bytes, total_bytes: int | None) -> ImageFacts:
    table = None
    if prefix[510:512] == b"\x55\xaa":
        table = "mbr"
    if b"EFI PART" in (prefix[512:520], prefix[4096:4104]):
        table = "gpt"
    iso = prefix[_ISO_OFFSET : _ISO_OFFSET + len(_ISO_MAGIC)] == _ISO_MAGIC
    return ImageFacts("iso" if iso else "raw", total_bytes, partition_table=table)


# --- public -------------------------------------------------------------------------------------------------


def inspect(prefix: bytes, total_bytes: int | None = None) -> ImageFacts:
    """Judge an image by its first `PREFIX_BYTES` (all of it when shorter). `total_bytes` is the size of the
    whole file, if known.

    Raises ImageFormatError when a known header is broken beyond reading.
    """
    prefix = bytes(prefix[:PREFIX_BYTES])
    found = [parse for offset, magic, parse in _SIGNATURES if prefix[offset : offset + len(magic)] == magic]
    if not found:
        return _plain(prefix, total_bytes)
    facts = found[0](prefix)
    if len(found) > 1:
        facts = msgspec.structs.replace(facts, problems=(*facts.problems, "The image matches more than one format."))
    return facts


def inspect_file(path: Path) -> ImageFacts:
    """`inspect` of a file. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return inspect(file.read(PREFIX_BYTES), path.stat().st_size)


class FormatInspector:
    """The gate on a stream: `feed` every chunk; as soon as `ready`, `facts` can be judged, long before the
    end.

    `facts` counts the bytes fed so far as the size of a raw image: ask again after the last chunk for its
    final size.
    """

    def __init__(self) -> None:
        self._prefix = bytearray()
        self.total_bytes = 0

    def feed(self, chunk: bytes) -> None:
        self.total_bytes += len(chunk)
        if not self.ready:
            self._prefix += chunk[: PREFIX_BYTES - len(self._prefix)]

    @property
    def ready(self) -> bool:
        """Whether more bytes cannot change the format found."""
        return len(self._prefix) >= PREFIX_BYTES

    def facts(self) -> ImageFacts:
        return inspect(bytes(self._prefix), self.total_bytes)


def check_safe(facts: ImageFacts, declared_format: str, *, max_virtual_bytes: int = MAX_VIRTUAL_BYTES) -> None:
    """Refuse an image that is not what was declared, or that no tool should open. Raises UnsafeImage.

    `declared_format` is the image's disk_format. A raw image may carry an MBR, a GPT or (hybrid) an ISO 9660
    file system.
    """
    declared = declared_format.lower()
    allowed = {"raw", "iso"} if declared in RAW_LIKE else {declared}
    if facts.format not in allowed:
        raise UnsafeImage(f"The image is declared as {declared} but its content is {facts.format}.")
    if facts.problems:
        raise UnsafeImage(" ".join(facts.problems))
    if facts.virtual_size is not None and facts.virtual_size > max_virtual_bytes:
        sizes = f"{facts.virtual_size} bytes exceeds the limit of {max_virtual_bytes} bytes"
        raise UnsafeImage(f"The image's virtual size of {sizes}.")
