"""Configuration: one TOML file, one table per service, each decoded into that service's struct."""

from pileus.kernel.config.loader import BusConfig, CacheConfig, ConfigError, NodeConfig, Port, load, over, section

__all__ = ["BusConfig", "CacheConfig", "ConfigError", "NodeConfig", "Port", "load", "over", "section"]
