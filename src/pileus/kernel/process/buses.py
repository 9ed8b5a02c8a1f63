"""Which bus a node has: the one inside the process, or a broker's."""

from __future__ import annotations

import importlib
import os
from typing import Any

from pileus.kernel import config as configuration
from pileus.kernel.bus import Bus, LocalBus
from pileus.kernel.config import BusConfig, ConfigError, NodeConfig

SECTION = "bus"


def is_local(tables: dict[str, Any]) -> bool:
    """Whether messages stay inside the process."""
    table = configuration.section(tables, SECTION, BusConfig)
    check_brokers(table)
    return not table.brokers


def check_brokers(table: BusConfig) -> None:
    """Raises ConfigError unless [bus] url names what can be connected to."""
    if table.url == []:
        raise ConfigError(f"[{SECTION}] url: the list is empty; name each member of the broker's cluster")
    if any(not url.startswith(("amqp://", "amqps://")) for url in table.brokers):
        raise ConfigError(  # without the URL: it may hold a password
            f"[{SECTION}] url: neither `local` nor the URL of an AMQP broker, or a list of such URLs"
        )


def make_bus(config: NodeConfig, tables: dict[str, Any]) -> Bus:
    """The bus that table [bus] describes, not open yet. Raises ConfigError."""
    table = configuration.section(tables, SECTION, BusConfig)
    check_brokers(table)
    if not table.brokers:
        return LocalBus()
    try:
        from pileus.kernel.bus.amqp import AmqpBus
    except ImportError as error:
        raise ConfigError(f"[{SECTION}] url: a broker needs the Python package {error.name}") from error
    return AmqpBus(table.brokers, cloud=config.cloud, name=f"pileus on {config.host}, process {os.getpid()}")


def load_driver(tables: dict[str, Any]) -> None:
    """Load the code of the bus that [bus] names, so that the start need not."""
    if not is_local(tables):
        importlib.import_module("pileus.kernel.bus.amqp")


async def probe(config: NodeConfig, tables: dict[str, Any]) -> None:
    """See that every member of the broker that [bus] names can be used. Raises ConfigError."""
    make_bus(config, tables)  # says what is wrong with the URL itself, or with the installation
    from pileus.kernel.bus.amqp import probe as asked

    for url in configuration.section(tables, SECTION, BusConfig).brokers:
        await asked.probe(url, config.cloud)
