"""A lab: its directory, its hosts and cards, and what belongs to them. Building, faults and reports stand on this."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pileus.kernel.config import ConfigError
from pileus.lab import addresses, hosts
from pileus.lab import layout as layouts
from pileus.lab.host_place import HostPlace
from pileus.lab.hosts import Furniture, Host
from pileus.lab.layout import HostPlan, Layout, NetworkName
from pileus.lab.switch import NAME as SWITCH
from pileus.lab.switch import Card, Switch

LABS = Path("/var/lib/pileus-labs")
LABS_VARIABLE = "PILEUS_LABS"
NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
INTERNET, ADMIN = "internet", "admin"
SIDE_HOSTS = (INTERNET, ADMIN)
ENTER_ONLY = 0o711


class Lab(msgspec.Struct, frozen=True):
    """The lab in a directory, whether it runs or not."""

    directory: Path
    layout: Layout

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def switch(self) -> Switch:
        """Its networks."""
        return Switch(Host(self.directory, SWITCH))

    def host(self, name: str) -> Host:
        """A host, or `internet` or `admin`. Raises ConfigError."""
        if name not in self.layout.hosts and name not in SIDE_HOSTS:
            names = ", ".join((*self.layout.hosts, *SIDE_HOSTS))
            raise ConfigError(f"lab {self.name} has no host {name!r}; it has {names}")
        return Host(self.directory, name)

    def plan(self, name: str) -> HostPlan:
        """What the layout says of a host of the cloud. Raises ConfigError."""
        if name not in self.layout.hosts:
            raise ConfigError(f"lab {self.name} has no host {name!r}; it has {', '.join(self.layout.hosts)}")
        return self.layout.hosts[name]

    def cards(self, name: str) -> list[Card]:
        """A host's network cards."""
        home = addresses.home(self.layout)
        found: list[tuple[NetworkName, str | None]]
        if name == INTERNET:
            found = [("external", addresses.numbered("external", addresses.INTERNET))]
        elif name == ADMIN:
            networks = dict.fromkeys((home, "external"))
            found = [(network, addresses.numbered(network, addresses.ADMIN)) for network in networks]
        else:
            found = [
                # Guests' packets leave by the external card; the host itself has no address there, if it has another.
                (nic, None if nic == "external" != home else addresses.of_host(self.layout, name, nic))
                for nic in self.plan(name).nics
            ]
        return [
            Card(number, network, address and addresses.with_prefix(network, address))
            for number, (network, address) in enumerate(found)
        ]

    def card(self, name: str, network: str) -> Card:
        """A host's card on a network. Raises ConfigError."""
        for card in self.cards(name):
            if card.network == network:
                return card
        networks = ", ".join(card.network for card in self.cards(name))
        raise ConfigError(f"{name} is not on a network {network!r}; it is on {networks}")

    # -- files -----------------------------------------------------------------------------------------------

    def disk(self, name: str) -> Path:
        """What a host has on its disk; the same path outside and inside."""
        return self.directory / "hosts" / name

    def state_dir(self, name: str) -> Path:
        """A host's /var/lib/pileus, as seen from outside."""
        return self.disk(name) / "state"

    def config_file(self, name: str) -> Path:
        """A host's /etc/pileus/pileus.toml, as seen from outside."""
        return self.disk(name) / "config" / "pileus.toml"

    @property
    def clouds_file(self) -> Path:
        """clouds.yaml of the client hosts."""
        return self.disk(ADMIN) / "clouds.yaml"

    def furniture(self, name: str) -> Furniture:
        """What a host finds in its file system."""
        disk = self.disk(name)
        inside = {"state": "/var/lib/pileus", "config": "/etc/pileus", "libvirt": "/var/lib/libvirt"}
        binds = [(str(disk), str(disk))]
        if name in SIDE_HOSTS:
            binds.append((str(self.disk(ADMIN)), "/etc/openstack"))
        else:
            binds += [(str(disk / part), path) for part, path in inside.items()]
            binds += [(str(self._shared(path)), path) for path in self.plan(name).shared]
        files = {"/etc/hosts": addresses.hosts_file(self.layout), "/etc/hostname": f"{name}\n", "/etc/resolv.conf": ""}
        return Furniture(binds, files)

    def make_disk(self, name: str) -> None:
        """Make a host's directories."""
        for path in (self.disk(name), *(self.disk(name) / part for part in ("state", "config", "libvirt", "log"))):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(ENTER_ONLY)
        for path in self.plan(name).shared if name in self.layout.hosts else ():
            self._shared(path).mkdir(parents=True, exist_ok=True)

    def _shared(self, path: str) -> Path:
        return self.directory / "shared" / path.strip("/").replace("/", "-")

    def place(self, name: str, part: str) -> HostPlace:
        """A host as the place of an engine, or of the cloud's processes."""
        directory = self.disk(name) / part
        return HostPlace(self.host(name), addresses.management(self.layout, name), directory)


def labs_dir() -> Path:
    """Where the labs are: $PILEUS_LABS, else /var/lib/pileus-labs."""
    return Path(os.environ.get(LABS_VARIABLE) or LABS).absolute()


def directory_of(name: str) -> Path:
    """The directory of a lab of that name. Raises ConfigError."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for a lab: a letter and up to 19 of a-z, 0-9 and -")
    return labs_dir() / name


def open_lab(name: str) -> Lab:
    """The lab of that name. Raises ConfigError when there is none."""
    directory = directory_of(name)
    file = directory / "layout.toml"
    if not file.exists():
        raise ConfigError(f"there is no lab {name!r}; make it with `pileus lab up --name {name}`")
    return Lab(directory, layouts.read(file))


def names() -> list[str]:
    """All labs of which there is anything: files, or processes without them."""
    found = {path for path in labs_dir().glob("*") if path.is_dir()}
    found |= {path for path in hosts.labs_with_hosts() if path.parent == labs_dir()}
    return sorted(path.name for path in found)


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[None]:
    """Hold the lab against others that would change it. RuntimeError when somebody does."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.parent.chmod(ENTER_ONLY)
    with (directory.parent / f".{directory.name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip()
            raise RuntimeError(f"process {who} is changing lab {directory.name}; wait for it or end it") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
