"""IPv6 router advertisements (RFC 4861) on a router's internal interfaces, sent from this process.

The sockets live in the router namespaces. While the agent is down nothing is announced, which guests do not notice for
half an hour: the router lifetime.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import struct
from collections.abc import Mapping

from msgspec import Struct

from pileus.kernel.host.namespaces import call_inside, namespace_inode
from pileus.services.network.rpc import HostRouter, RouterInterface

INTERVAL_S = 10.0
ROUTER_LIFETIME_S = 1800
PREFIX_VALID_S = 86400
PREFIX_PREFERRED_S = 14400
HOP_LIMIT = 64
MAX_SOLICITATIONS_PER_WAKE = 16

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
OPTION_SOURCE_LINK, OPTION_PREFIX, OPTION_MTU = 1, 3, 5
MANAGED, OTHER = 0x80, 0x40
ON_LINK, AUTONOMOUS = 0x80, 0x40
ICMP6_FILTER = 1  # linux/icmpv6.h
ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"
log = logging.getLogger(__name__)


def advertisement(interface: RouterInterface) -> bytes:
    """The ICMPv6 message for an interface (checksum left to the kernel)."""
    flags = {"dhcpv6-stateful": MANAGED | OTHER, "dhcpv6-stateless": OTHER}.get(interface.ra_mode, 0)
    message = struct.pack("!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, HOP_LIMIT, flags, ROUTER_LIFETIME_S, 0, 0)
    message += struct.pack("!BB6s", OPTION_SOURCE_LINK, 1, bytes.fromhex(interface.mac_address.replace(":", "")))
    message += struct.pack("!BBHI", OPTION_MTU, 1, 0, interface.mtu)
    for fixed_ip in interface.fixed_ips:
        network = ipaddress.ip_interface(f"{fixed_ip.ip_address}/{fixed_ip.prefix_length}").network
        if network.version == 6:
            use = ON_LINK if interface.ra_mode == "dhcpv6-stateful" else ON_LINK | AUTONOMOUS
            message += struct.pack(
                "!BBBBIII16s", OPTION_PREFIX, 4, network.prefixlen, use, PREFIX_VALID_S, PREFIX_PREFERRED_S, 0,
                network.network_address.packed,
            )  # fmt: skip
    return message


class _Speaker(Struct):
    """One interface we speak on."""

    inode: int | None
    message: bytes
    sock: socket.socket


class RouterAdvertiser:
    """Speaks on exactly the interfaces it was last told."""

    def __init__(self) -> None:
        self._speakers: dict[tuple[str, str], _Speaker] = {}
        self._task: asyncio.Task[None] | None = None

    async def keep(self, namespaces: Mapping[str, HostRouter]) -> None:
        """`namespaces` -> router in it. Interfaces without `ra_mode` stay silent."""
        wanted = {
            (namespace, f"qr-{interface.port_id[:11]}"): advertisement(interface)
            for namespace, router in namespaces.items()
            for interface in router.interfaces
            if interface.ra_mode
        }
        for key in list(self._speakers):
            if key not in wanted or self._speakers[key].inode != namespace_inode(key[0]):
                self._end(key)
        for key, message in wanted.items():
            await self._speak(key, message)
        if self._speakers and self._task is None:
            self._task = asyncio.create_task(self._periodically(), name="router advertisements")

    async def close(self) -> None:
        for key in list(self._speakers):
            self._end(key)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _speak(self, key: tuple[str, str], message: bytes) -> None:
        speaker = self._speakers.get(key)
        if speaker is None:
            namespace, link = key
            try:
                sock = await call_inside(namespace, lambda: _open(link))
            except OSError as error:
                log.warning("no router advertisements on %s in %s: %s", link, namespace, error)
                return
            speaker = self._speakers[key] = _Speaker(namespace_inode(namespace), b"", sock)
            asyncio.get_running_loop().add_reader(sock, self._solicited, key)
        if speaker.message != message:
            speaker.message = message
            _send(speaker, ALL_NODES)

    def _end(self, key: tuple[str, str]) -> None:
        speaker = self._speakers.pop(key)
        asyncio.get_running_loop().remove_reader(speaker.sock)
        speaker.sock.close()

    def _solicited(self, key: tuple[str, str]) -> None:
        """Guests asked: answer to all, once however many they are."""
        speaker = self._speakers[key]
        with contextlib.suppress(OSError):
            for _ in range(MAX_SOLICITATIONS_PER_WAKE):
                speaker.sock.recv(1500)
        _send(speaker, ALL_NODES)

    async def _periodically(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            for speaker in self._speakers.values():
                _send(speaker, ALL_NODES)


def _open(link: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6)
    try:
        index = socket.if_nametoindex(link)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        group = socket.inet_pton(socket.AF_INET6, ALL_ROUTERS) + struct.pack("@I", index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        blocked = bytearray(b"\xff" * 32)
        blocked[ROUTER_SOLICITATION // 8] &= ~(1 << ROUTER_SOLICITATION % 8) & 0xFF
        sock.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, bytes(blocked))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _send(speaker: _Speaker, target: str) -> None:
    try:
        speaker.sock.sendto(speaker.message, (target, 0))
    except OSError as error:  # the link-local address may still be tentative: the next one gets through
        log.debug("router advertisement not sent: %s", error)
