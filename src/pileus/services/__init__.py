"""The services. Each is a folder with a `service.py` whose `SERVICE` is its manifest; a new one is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable

from pileus.kernel.process.manifest import Service


def folders() -> tuple[str, ...]:
    """The names of all services' folders, in order; nothing is loaded. A service's type is its folder's name with `-`
    for `_`, and what its roles' names begin with."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if info.ispkg))


def discover(only: Iterable[str] | None = None) -> tuple[Service, ...]:
    """The manifests of all services, or of the folders named in `only`, in order of their folder names."""
    wanted = None if only is None else set(only)
    return tuple(
        importlib.import_module(f"{__name__}.{name}.service").SERVICE
        for name in folders()
        if wanted is None or name in wanted
    )


def discover_for(roles: Iterable[str]) -> tuple[Service, ...]:
    """The manifests that a process with these roles needs: a third less memory for an agent than with all."""
    wanted = tuple(roles)
    found = discover(
        folder for folder in folders() if any(role.startswith(folder.replace("_", "-") + "-") for role in wanted)
    )
    # Who keeps the catalogue must know everything that is offered.
    return discover() if any(service.authenticate is not None for service in found) else found
