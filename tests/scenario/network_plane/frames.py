"""Frames made by hand, honest and forged, and whether they arrive."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from .plane import Guest


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4_udp(
    source_mac: str, target_mac: str, source: str, target: str, source_port: int, target_port: int, payload: bytes
) -> bytes:
    udp = struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target)
    )
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return mac_bytes(target_mac) + mac_bytes(source_mac) + b"\x08\x00" + header + udp


def ipv6(source_mac: str, target_mac: str, source: str, target: str, next_header: int, payload: bytes) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), next_header, 255)
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return mac_bytes(target_mac) + mac_bytes(source_mac) + b"\x86\xdd" + header + addresses + payload


def icmpv6(source: str, target: str, body: bytes) -> bytes:
    pseudo = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    pseudo += struct.pack("!II", len(body), 58)
    return body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]


def arp(source_mac: str, sender_mac: str, sender_ip: str, target_ip: str, operation: int = 1) -> bytes:
    return (
        b"\xff" * 6 + mac_bytes(source_mac) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        + mac_bytes(sender_mac) + socket.inet_aton(sender_ip) + bytes(6) + socket.inet_aton(target_ip)
    )  # fmt: skip


def arrives(receiver: Guest, send: Callable[[], None], needle: bytes, wait_s: float = 0.4) -> bool:
    """True if a frame that contains `needle` reaches the receiver's device after `send`."""
    with receiver.packet_socket(wait_s) as sock:
        send()
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            try:
                if needle in sock.recv(4096):
                    return True
            except TimeoutError:
                break
    return False
