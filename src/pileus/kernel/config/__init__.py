"""Configuration: one TOML file, one table per service, each decoded into that service's struct."""

from pileus.kernel.config.loader import BusConfig, ConfigError, NodeConfig, Port, load, section

__all__ = ["BusConfig", "ConfigError", "NodeConfig", "Port", "load", "section"]
