"""Which bus a node has: the one inside the process, or a broker's."""

from __future__ import annotations

import os
from typing import Any

from pileus.kernel import config as configuration
from pileus.kernel.bus import Bus, LocalBus
from pileus.kernel.config import BusConfig, ConfigError, NodeConfig

SECTION = "bus"


def is_local(tables: dict[str, Any]) -> bool:
    """Whether messages stay inside the process."""
    return configuration.section(tables, SECTION, BusConfig).url == "local"


def make_bus(config: NodeConfig, tables: dict[str, Any]) -> Bus:
    """The bus that table [bus] describes, not open yet. Raises ConfigError."""
    url = configuration.section(tables, SECTION, BusConfig).url
    if url == "local":
        return LocalBus()
    if not url.startswith(("amqp://", "amqps://")):
        raise ConfigError(f"[{SECTION}] url: neither `local` nor the URL of an AMQP broker")  # it may hold a password
    try:
        from pileus.kernel.bus.amqp import AmqpBus
    except ImportError as error:
        raise ConfigError(f"[{SECTION}] url: a broker needs the Python package {error.name}") from error
    return AmqpBus(url, cloud=config.cloud, name=f"pileus on {config.host}, process {os.getpid()}")
