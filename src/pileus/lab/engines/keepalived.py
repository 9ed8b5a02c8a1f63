"""keepalived: an address that is on one of several hosts, on one where HAProxy works."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from pileus.lab.engines.member import Member, Members, write
from pileus.lab.place import Place

READY_TIMEOUT_S: Final = 30.0
ADVERT_S: Final = 0.5
"""Three of these without a word, and up to one more, and the next host takes the address: 2 s at most."""
CHECK_EVERY_S: Final = 1
CHECK_TIMEOUT_S: Final = 3
REFRESH_S: Final = 5
"""How often the holder tells the neighbours again: a host whose keepalived was killed may still have the address."""
FIRST_PRIORITY: Final = 150
CHECK: Final = """\
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(2)
    s.connect(sys.argv[1])
    s.sendall(b"show info\\n")
    sys.exit(not s.recv(64))
"""


class VirtualAddress(msgspec.Struct, frozen=True):
    """address: with the prefix length, as 10.0.0.100/24. interface: that of the network, on every host. router: 1 to
    255, once on a network."""

    address: str
    interface: str
    router: int = 51


class Keepalived(Member):
    """One of the hosts that may hold the address. addresses: those of all. watched: HAProxy's socket on this host;
    None: the address does not depend on it."""

    def __init__(
        self, place: Place, addresses: Sequence[str], virtual: VirtualAddress, watched: Path | None = None
    ) -> None:
        super().__init__(place)
        self._others = [address for address in addresses if address != place.address]
        self._priority = FIRST_PRIORITY - addresses.index(place.address)
        self._virtual = virtual
        self._watched = watched

    @property
    def _state(self) -> Path:
        return self.place.directory / "state"

    def start(self) -> None:
        here = self.place.directory
        for left in (self._state, here / "pid", here / "vrrp.pid"):  # after a power cut others may have these ids
            left.unlink(missing_ok=True)
        write(here / "check.py", CHECK)
        write(here / "notify", f'#!/bin/sh\necho "$3" > {self._state}\n', 0o700)
        write(here / "keepalived.conf", self._settings())
        self._process = self.place.start(
            ["keepalived", "--dont-fork", "--log-console", "--no-syslog", "--vrrp", "-f", f"{here}/keepalived.conf",
             "-p", f"{here}/pid", "-r", f"{here}/vrrp.pid"], log=self.log,
        )  # fmt: skip

    def answers(self) -> bool:
        return self.state() != ""

    def state(self) -> str:
        """`MASTER` (it holds the address), `BACKUP`, `FAULT` (HAProxy does not work here); empty when not known."""
        try:
            return self._state.read_text().strip() if self.alive() else ""
        except OSError:
            return ""

    def status(self) -> str:
        """In words."""
        words = {"MASTER": "running, holds the address", "BACKUP": "running", "FAULT": "HAProxy does not answer here"}
        return words.get(self.state(), "starting" if self.alive() else "down")

    def _settings(self) -> str:
        address = ipaddress.ip_interface(self._virtual.address)
        peers = "\n".join(f"        {other}" for other in self._others)
        watch = "    track_script {\n        haproxy\n    }\n" if self._watched else ""
        return f"""\
global_defs {{
    router_id {self.name}
    script_user root
    vrrp_version 3
    vrrp_garp_master_refresh {REFRESH_S}
    vrrp_check_unicast_src
}}

{self._script()}vrrp_instance address {{
    state BACKUP
    nopreempt
    interface {self._virtual.interface}
    virtual_router_id {self._virtual.router}
    priority {self._priority}
    advert_int {ADVERT_S}
    unicast_src_ip {self.place.address}
    unicast_peer {{
{peers}
    }}
    virtual_ipaddress {{
        {address.with_prefixlen} dev {self._virtual.interface}
    }}
{watch}    notify {self.place.directory}/notify
}}
"""

    def _script(self) -> str:
        if self._watched is None:
            return ""
        return f"""\
vrrp_script haproxy {{
    script "{sys.executable} -I -S {self.place.directory}/check.py {self._watched}"
    interval {CHECK_EVERY_S}
    timeout {CHECK_TIMEOUT_S}
    rise 1
    fall 1
}}

"""


class KeepalivedCluster(Members[Keepalived]):
    """One in each place; where there is a choice the address goes to the first. It stays where it is when a better host
    comes back; after `stop` it is on none."""

    ready_timeout_s = READY_TIMEOUT_S

    def __init__(self, places: Sequence[Place], virtual: VirtualAddress, watched: Sequence[Path] = ()) -> None:
        addresses = [place.address for place in places]
        super().__init__(
            Keepalived(place, addresses, virtual, watched[n] if watched else None) for n, place in enumerate(places)
        )

    def holder(self) -> Keepalived | None:
        """Who says that it has the address; None while nobody does."""
        return next((member for member in self.members if member.state() == "MASTER"), None)
