"""The host's own side of an external network: a bridge that carries the gateway's address, and masquerading.

On a machine with no free network card this is the way out for guests, and how the host reaches floating addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

from pileus.kernel.host import links, nftables, sysctl

BRIDGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,14}")
TABLE = "pileus_uplink"
MARK = "pileus-uplink"  # alias of a bridge that was made here
NETWORK_BRIDGES = "brq*"  # the bridges of networks, as the L2 driver names them


class Uplink:
    """Keeps bridges up with their addresses (`{"br-ex": "172.24.4.1/24"}`); what is right is left alone.

    masquerade: packets from those networks to anywhere else leave with this host's address, and are forwarded.
    Raises ValueError for names or addresses that are none.
    """

    def __init__(self, bridges: Mapping[str, str], *, masquerade: bool) -> None:
        self._bridges = {name: ipaddress.ip_interface(cidr) for name, cidr in bridges.items()}
        self._masquerade = masquerade
        self._shown: str | None = None  # our table, as the kernel shows it when it is right
        for name in bridges:
            if not BRIDGE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a bridge's name")

    async def ensure(self) -> None:
        """Make right what is not. Raises CommandError, OSError."""
        present, addresses = await links.list_links(), await links.list_addresses()
        for bridge, interface in self._bridges.items():
            lines = [] if bridge in present else _made(bridge)
            if not any(a.link == bridge and a.cidr == str(interface) for a in addresses):
                lines.append(f"addr add {interface} dev {bridge}")
            if bridge not in present or not present[bridge].is_up:
                lines.append(f"link set {bridge} up")
            await links.change_links(lines)
        if self._masquerade and self._bridges:
            await sysctl.set_sysctls({"net/ipv4/ip_forward": "1"})
            await self._translate()

    async def _translate(self) -> None:
        if self._shown is None or await nftables.list_table("ip", TABLE) != self._shown:
            await nftables.load_ruleset(_ruleset(self._bridges))
            self._shown = await nftables.list_table("ip", TABLE)


def _ruleset(bridges: Mapping[str, ipaddress.IPv4Interface | ipaddress.IPv6Interface]) -> str:
    networks = [interface.network for interface in bridges.values()]
    # Where bridged packets are filtered they pass here too, with their bridge as the way out: translated there, they
    # would be lost. Only what is routed out of other devices is meant.
    elsewhere = " ".join(f'oifname != "{name}"' for name in (*bridges, NETWORK_BRIDGES))
    rules = "\n".join(
        f"    ip saddr {network} ip daddr != {network} {elsewhere} masquerade"
        for network in networks
        if network.version == 4
    )
    return f"""table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
{rules}
  }}
}}
"""


def _made(bridge: str) -> list[str]:
    return [f"link add {bridge} type bridge forward_delay 0", f'link set {bridge} alias "{MARK}"']


async def remove(bridges: Iterable[str]) -> list[str]:
    """Take bridges that were made here off the host, unless somebody else uses them; and masquerading when none is
    left. Returns what was removed. Raises CommandError."""
    found = await links.list_links()
    used = {link.master for link in found.values()}
    ours = [name for name in bridges if name in found and found[name].alias == MARK]
    removed = [name for name in ours if name not in used]
    for name in removed:
        await links.delete_link(name)
    if removed == ours:
        await nftables.delete_table("ip", TABLE)
    return removed
