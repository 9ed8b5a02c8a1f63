"""What every role with the network database needs, put together once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pileus.services.network.config import NetworkConfig
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.drivers.mechanism.fake import FakeMechanism
from pileus.services.network.drivers.mechanism.interface import MechanismDriver
from pileus.services.network.drivers.mechanism.linuxbridge import LinuxBridgeMechanism
from pileus.services.network.drivers.type.flat import FlatType
from pileus.services.network.drivers.type.interface import TypeDriver
from pileus.services.network.drivers.type.vlan import VlanType
from pileus.services.network.drivers.type.vxlan import VxlanType
from pileus.services.network.quotas import quotas
from pileus.services.network.tasks.doorbells import Doorbells

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

MECHANISMS: dict[str, type[MechanismDriver]] = {"linuxbridge": LinuxBridgeMechanism, "fake": FakeMechanism}
TYPES: tuple[type[FlatType] | type[VlanType] | type[VxlanType], ...] = (FlatType, VlanType, VxlanType)


def types(config: NetworkConfig) -> dict[str, TypeDriver]:
    """All type drivers by name."""
    return {kind.name: kind(config) for kind in TYPES}


async def setup(rt: Runtime[NetworkConfig]) -> None:
    """Put the fabric where handlers and roles find it."""
    config = rt.config
    rt.put(Fabric(config, quotas(config.quotas), types(config), MECHANISMS[config.mechanism](), Doorbells(rt.bus)))
