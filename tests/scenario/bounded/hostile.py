"""Images made to hurt."""

from __future__ import annotations

import struct

CLUSTER = 65_536


def unpacks_to(virtual_bytes: int) -> bytes:
    """A small qcow2 image, valid in every table, all of whose clusters are one and the same: unpacked it fills a
    disk."""
    entries = CLUSTER // 8
    clusters = -(-virtual_bytes // CLUSTER)
    l1_entries = -(-clusters // entries)
    header, l1, l2, table, block, data = range(6)  # which cluster is what
    head = struct.pack(
        ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 16, virtual_bytes, 0, l1_entries, l1 * CLUSTER, table * CLUSTER, 1,
        0, 0, 0, 0, 0, 4, 104,
    )
    pages = {
        header: head,
        l1: struct.pack(">Q", l2 * CLUSTER) * l1_entries,
        l2: struct.pack(">Q", data * CLUSTER) * entries,
        table: struct.pack(">Q", block * CLUSTER),
        block: struct.pack(">6H", *([2] * 6)),
        data: bytes(range(1, 256)) * (CLUSTER // 255 + 1),
    }
    return b"".join(pages[number][:CLUSTER].ljust(CLUSTER, b"\0") for number in sorted(pages))

