"""The server's network cards as persistent tap devices. The network's L2 agent finds them by name and wires
them."""

from __future__ import annotations

import re
from typing import Final

from pileus.kernel.host import links
from pileus.services.compute.rpc import Nic
from pileus.services.compute.worker.build import Build
from pileus.services.compute.worker.faults import ServerFault

_PREFIX: Final = "pileus-server:"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_MIN_MTU, _MAX_MTU = 68, 65_521


class Taps:
    """Makes the taps (again, after a restart of the host) and marks each with the server it belongs to.

    QEMU needs the tap to have been made with vnet_hdr for virtio. The host's side gets no IPv6 address of its
    own.
    """

    name = "taps"

    async def apply(self, build: Build) -> None:
        for nic in build.spec.nics:
            if not _NAME.fullmatch(nic.tap) or not _MIN_MTU <= nic.mtu <= _MAX_MTU:
                raise ServerFault("network_plug_failed", f"{nic.tap!r} with MTU {nic.mtu} is not a usable device.")
        existing = await links.list_links()
        lines: list[str] = []
        for nic in build.spec.nics:
            known = existing.get(nic.tap)
            if known is None:
                lines.append(f"tuntap add dev {nic.tap} mode tap vnet_hdr")
            elif known.kind != "tun":
                kind = known.kind or "physical"
                raise ServerFault("network_plug_failed", f"{nic.tap} exists and is a {kind} device.")
            lines += _settings(nic, _mark(build))
        await links.change_links(lines)

    async def undo(self, build: Build) -> None:
        mark = _mark(build)
        ours = [link.name for link in (await links.list_links()).values() if link.alias == mark and link.kind == "tun"]
        for name in ours:
            await links.delete_link(name)


def _settings(nic: Nic, mark: str) -> tuple[str, ...]:
    return (
        f"link set dev {nic.tap} alias {mark}",
        f"link set dev {nic.tap} addrgenmode none",
        f"link set dev {nic.tap} mtu {nic.mtu}",
        f"link set dev {nic.tap} up",
    )


def _mark(build: Build) -> str:
    return f"{_PREFIX}{build.cloud}:{build.spec.server_id}"


def server_of(alias: str, cloud: str) -> str | None:
    """The server of this cloud that a tap with this alias was made for; None for what is not ours."""
    mark = f"{_PREFIX}{cloud}:"
    return alias.removeprefix(mark) if alias.startswith(mark) else None
