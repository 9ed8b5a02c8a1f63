"""The lab's networks: a bridge each, in a namespace of their own, and the cables to the hosts' cards."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import msgspec

from pileus.lab import addresses
from pileus.lab.hosts import Host
from pileus.lab.layout import NetworkName

NAME = "switch"
COMMAND_TIMEOUT_S = 20.0


class Card(msgspec.Struct, frozen=True):
    """A network card of a host. number: 0 is eth0. address: with prefix length; None for none."""

    number: int
    network: NetworkName
    address: str | None = None

    @property
    def name(self) -> str:
        """The device's name in the host."""
        return f"eth{self.number}"


class Switch:
    """The networks of a lab, `host` being the namespace that they are in."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def start(self) -> None:
        """Make the namespace with a bridge for each network."""
        self.host.start(None)
        lines = []
        for network in addresses.NETWORKS:
            lines += [f"link add {network} type bridge forward_delay 0", f"link set {network} up"]
        ip(self.host, lines)

    def plug(self, host: Host, card: Card) -> None:
        """Give a running host a card, up, with its address."""
        port = self.port(host.name, card.number)
        # The kernel takes a dead host's cards away later than its processes.
        old = self.host.enter(["ip", "link", "del", port], only_net=True)
        subprocess.run(old, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)
        ip(self.host, [
            f"link add {port} type veth peer name {card.name} netns {host.the_pid()}",
            f"link set {port} master {card.network} up",
        ])
        lines = [f"link set {card.name} up"]
        if card.address is not None:
            lines.append(f"addr add {card.address} dev {card.name}")
        ip(host, lines)

    def cut(self, host: str, card: Card) -> None:
        """Pull the cable of a card."""
        ip(self.host, [f"link set {self.port(host, card.number)} down"])

    def heal(self, host: str, card: Card) -> None:
        """Put the cable of a card back."""
        ip(self.host, [f"link set {self.port(host, card.number)} up"])

    def is_cut(self, host: str, card: Card) -> bool:
        """Whether the cable of a card is out. False when the host has no such card now."""
        shown = subprocess.run(
            self.host.enter(["ip", "-json", "link", "show", self.port(host, card.number)], only_net=True),
            capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False,
        )
        return shown.returncode == 0 and "UP" not in msgspec.json.decode(shown.stdout)[0]["flags"]

    @staticmethod
    def port(host: str, number: int) -> str:
        """The switch's end of a cable."""
        return f"{host}.{number}"


def ip(host: Host, lines: Sequence[str]) -> None:
    """Run lines of `ip` in a host's network. RuntimeError names the first that fails."""
    done = subprocess.run(
        host.enter(["ip", "-batch", "-"], only_net=True), input="\n".join(lines) + "\n", capture_output=True, text=True,
        timeout=COMMAND_TIMEOUT_S, check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"network of {host.name}: {done.stderr.strip()} (of: {'; '.join(lines)})")
