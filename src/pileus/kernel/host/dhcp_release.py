"""Have a DHCP server forget leases, by telling it in its client's name that the address is not needed any more.

A DHCPRELEASE (RFC 2131, section 4.4.4) as the client itself would send it. A dnsmasq otherwise keeps the lease of a
guest that is gone until it runs out, and refuses the address to whoever gets it next.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Iterable

import msgspec

from .namespaces import call_inside

SERVER_PORT = 67
BOOTREQUEST, ETHERNET = 1, 1
COOKIE = bytes((99, 130, 83, 99))
MESSAGE_TYPE, SERVER_ID, CLIENT_ID, END = 53, 54, 61, 255
RELEASE = 7
_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")


class Lease(msgspec.Struct, frozen=True):
    """One lease, as dnsmasq's file has it. client_id: hexadecimal with colons, "" for none."""

    mac_address: str
    ip_address: str
    client_id: str = ""


def message(lease: Lease, server_ip: str) -> bytes:
    """The packet's payload. Raises ValueError or OSError for addresses that are none."""
    nobody = bytes(4)
    header = _HEADER.pack(
        BOOTREQUEST, ETHERNET, 6, 0, secrets.randbits(32), 0, 0, socket.inet_aton(lease.ip_address), nobody, nobody,
        nobody, bytes.fromhex(lease.mac_address.replace(":", "")), b"", b"",
    )
    options = bytes((MESSAGE_TYPE, 1, RELEASE, SERVER_ID, 4)) + socket.inet_aton(server_ip)
    if lease.client_id:
        client = bytes.fromhex(lease.client_id.replace(":", ""))
        options += bytes((CLIENT_ID, len(client))) + client
    return header + COOKIE + options + bytes((END,))


async def release(leases: Iterable[Lease], *, server_ip: str, link: str, namespace: str) -> None:
    """Release leases of the server that listens on a link inside a namespace. Raises OSError, ValueError."""
    packets = [message(lease, server_ip) for lease in leases]

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
            for packet in packets:
                sock.sendto(packet, (server_ip, SERVER_PORT))

    await call_inside(namespace, send)
