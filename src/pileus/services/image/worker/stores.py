"""The stores of this process, by name."""

from __future__ import annotations

import importlib
from pathlib import Path

from pileus.kernel.config import ConfigError
from pileus.services.image.config import ImageConfig
from pileus.services.image.drivers.store.interface import Store

_DRIVERS = "pileus.services.image.drivers.store"


class Stores:
    """`default` takes new images."""

    def __init__(self, stores: dict[str, Store], default: str) -> None:
        self._stores = stores
        self.default = default

    def __getitem__(self, name: str) -> Store:
        """The store of that name. KeyError when it is not set up here."""
        return self._stores[name]

    def __contains__(self, name: str) -> bool:
        return name in self._stores

    @property
    def names(self) -> tuple[str, ...]:
        """All stores, the default one first."""
        return (self.default, *(name for name in self._stores if name != self.default))


def open_stores(config: ImageConfig, state_dir: Path) -> Stores:
    """Open what the configuration names. Raises ConfigError for a driver that does not exist."""
    name = config.store
    if not name.isidentifier():
        raise ConfigError(f"[image] store: {name!r} is not the name of a driver")
    try:
        driver = importlib.import_module(f"{_DRIVERS}.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"[image] store: there is no driver {name!r}") from error
    return Stores({name: driver.open_store(config, state_dir)}, name)
