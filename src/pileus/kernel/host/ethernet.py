"""Raw Ethernet work: gratuitous ARP, and a veth end that computes its own checksums."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct

from .namespaces import call_inside

SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
ETHERTYPE_ARP = 0x0806
BROADCAST_MAC = b"\xff" * 6


def gratuitous_arp(mac_address: str, ip_address: str) -> bytes:
    """A broadcast ARP announcement (RFC 5227): "this address is at this MAC"."""
    mac = bytes.fromhex(mac_address.replace(":", ""))
    ip = ipaddress.IPv4Address(ip_address).packed
    header = BROADCAST_MAC + mac + struct.pack("!H", ETHERTYPE_ARP)
    return header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + ip + bytes(6) + ip


async def announce(link: str, mac_address: str, ip_addresses: list[str], namespace: str | None) -> None:
    """Send one gratuitous ARP per IPv4 address out of a link. Raises OSError if the link is not there."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as sock:
            sock.bind((link, 0))
            for address in ip_addresses:
                sock.send(gratuitous_arp(mac_address, address))

    await call_inside(namespace, send)


async def disable_tx_checksum_offload(link: str, namespace: str | None) -> None:
    """Make the link fill in checksums. Some DHCP clients read frames raw and drop unfinished checksums."""

    def switch_off() -> None:
        value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
        request = struct.pack("16sP", link.encode(), value.buffer_info()[0])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            fcntl.ioctl(sock, SIOCETHTOOL, request)

    await call_inside(namespace, switch_off)
