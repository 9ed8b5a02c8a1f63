"""A cloud as its configuration describes it: which services, which databases, which directories on this host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pileus.kernel import config as configuration
from pileus.kernel.bus import Event
from pileus.kernel.config import NodeConfig
from pileus.kernel.db import Database, migrations
from pileus.kernel.process.databases import SECTION, open_database
from pileus.kernel.process.manifest import Service
from pileus.services import discover
from pileus.services.compute.config import ComputeConfig
from pileus.services.image.config import ImageConfig
from pileus.services.network.config import NetworkConfig
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.drivers.ownership import Ownership
from pileus.services.network.quotas import quotas
from pileus.services.network.tasks.setup import MECHANISMS, types


class CouldNotLook(Exception):
    """A part cannot be read; the text says why."""


class Installation:
    """Read-only; everything is worked out from `[node]` and the other tables."""

    def __init__(self, node: NodeConfig, tables: Mapping[str, Any]) -> None:
        self.node = node
        self.tables = {name: dict(table) for name, table in tables.items()}
        self.services = {service.type: service for service in discover() if service.offered}
        self.state_dir = Path(node.state_dir)
        self.ownership = Ownership(node.cloud)

    def _section(self, service: str) -> Any:
        table = {key: value for key, value in self.tables.get(service, {}).items() if key != "policy_file"}
        return configuration.section({service: table}, service, self.services[service].config)

    @property
    def compute(self) -> ComputeConfig:
        return self._section("compute")

    @property
    def network(self) -> NetworkConfig:
        return self._section("network")

    @property
    def image(self) -> ImageConfig:
        return self._section("image")

    @property
    def has_real_guests(self) -> bool:
        """Whether the hypervisor driver runs guests."""
        return self.compute.agent.hypervisor != "fake"

    @property
    def has_real_networks(self) -> bool:
        """Whether the network agents change this host."""
        return self.network.l2_driver != "fake"

    @property
    def has_guests_here(self) -> bool:
        """Whether a compute agent runs on this host."""
        return self._runs("compute-agent")

    @property
    def has_networks_here(self) -> bool:
        """Whether an agent of networks runs on this host."""
        return self._runs("network-l2", "network-l3", "network-dhcp")

    @property
    def has_images_here(self) -> bool:
        """Whether the image API, which writes the store's files, runs on this host."""
        return self._runs("image-api")

    def _runs(self, *roles: str) -> bool:
        """Without table [processes] any role may."""
        table = self.tables.get("processes")
        return table is None or any(role in roles for entry in table.values() for role in entry.get("roles", ()))

    @property
    def guests_dir(self) -> Path:
        """Where the compute agent keeps its files."""
        given = self.compute.agent.instances_dir
        return Path(given) if given else self.state_dir / "compute"

    @property
    def store_dir(self) -> Path:
        """Where the `file` store keeps images."""
        return Path(self.image.store_dir) if self.image.store_dir else self.state_dir / "image" / "images"

    @property
    def dhcp_dir(self) -> Path:
        """Where the files of the running dnsmasqs are."""
        return Path(self.network.run_dir or f"/run/pileus/{self.node.cloud}/dhcp")

    def fabric(self) -> Fabric:
        """What the network service's transactions need. Its doorbells are silent: agents ask by themselves."""
        config = self.network
        return Fabric(config, quotas(config.quotas), types(config), MECHANISMS[config.mechanism](), _NoBells())

    def open_database(self, service: Service) -> Database:
        """A service's database at the schema that this code knows. Raises CouldNotLook."""
        path = self.state_dir / "db" / f"{service.type}.sqlite"
        if not self.tables.get(SECTION, {}).get(service.type) and not _is_there(path):
            raise CouldNotLook(f"there is no database {path}")
        database = open_database(self.node, self.tables, service)
        found, wanted = migrations.current_revision(database), migrations.head_revision(service.db or "")
        if found != wanted:
            database.close()
            raise CouldNotLook(f"its schema is at {found}, this code needs {wanted}: start the cloud once")
        return database


class _NoBells:
    def ring(self, kind: str, host: str) -> None:
        return None

    def announce(self, event: Event) -> None:
        return None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError as error:
        raise CouldNotLook(f"{path} cannot be read by this user") from error


