"""Load a whole nftables table at once, and notice cheaply whether anything changed since."""

from __future__ import annotations

import socket
import struct

from .command import CommandError
from .namespaces import call_inside, run_inside

LOAD_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 5.0
READ_BYTES = 4096

# linux/netlink.h, netfilter/nfnetlink.h and nf_tables.h
NETLINK_NETFILTER = 12
SUBSYSTEM_NFTABLES = 10
GET_GENERATION = 16
ATTRIBUTE_GENERATION_ID = 1
REQUEST = 1
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")


async def generation(namespace: str | None = None) -> int:
    """The number the kernel raises with every change of any nftables rule (iptables-nft included) in a namespace.

    Raises OSError.
    """

    def ask() -> int:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
            sock.settimeout(ANSWER_TIMEOUT_S)
            kind = SUBSYSTEM_NFTABLES << 8 | GET_GENERATION
            sock.send(_HEADER.pack(_HEADER.size + _FAMILY.size, kind, REQUEST, 1, 0) + _FAMILY.pack(0, 0, 0))
            return _generation_in(sock.recv(READ_BYTES))

    return await call_inside(namespace, ask)


def _generation_in(message: bytes) -> int:
    position = _HEADER.size + _FAMILY.size
    while position + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        if kind == ATTRIBUTE_GENERATION_ID:
            return int.from_bytes(message[position + _ATTRIBUTE.size : position + length], "big")
        position += max(_ATTRIBUTE.size, (length + 3) & ~3)
    raise OSError("the kernel's answer names no ruleset generation")


async def load_ruleset(text: str, namespace: str | None = None) -> None:
    """Apply an nft script as one transaction. Raises CommandError with nft's own words."""
    await run_inside(namespace, ("nft", "-f", "-"), input=text, timeout_s=LOAD_TIMEOUT_S)


async def list_table(family: str, table: str, namespace: str | None = None) -> str | None:
    """The table as nft prints it, or None if it is not there."""
    try:
        found = await run_inside(namespace, ("nft", "list", "table", family, table))
    except CommandError as error:
        if "No such file or directory" in error.stderr:
            return None
        raise
    return found.text


async def delete_table(family: str, table: str, namespace: str | None = None) -> None:
    """Delete a table; already gone is fine."""
    try:
        await run_inside(namespace, ("nft", "delete", "table", family, table))
    except CommandError as error:
        if "No such file or directory" not in error.stderr:
            raise
