"""A build: the ordered hooks that make a server on this host, run forward, and backward to undo.

Each hook does one concern and can be run again on what is there already; each undo removes whatever its hook,
or an interrupted run of it, may have left, and finds "already gone" a success. An undo therefore needs
nothing but the server's spec and directory.
"""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec

from pileus.services.compute.drivers.hypervisor.interface import Hypervisor
from pileus.services.compute.rpc import ServerSpec
from pileus.services.compute.worker.faults import EXPECTED
from pileus.services.compute.worker.images import CachedImage, ImageCache
from pileus.services.compute.worker.observed import observed
from pileus.services.compute.worker.paths import ServerPaths

log = logging.getLogger(__name__)


class Build(msgspec.Struct):
    """What hooks work on. `base`, `kernel` and `ramdisk` are filled in by the image hook, or from the
    journal."""

    cloud: str
    generation: int
    spec: ServerSpec
    paths: ServerPaths
    images: ImageCache
    hypervisor: Hypervisor
    base: CachedImage | None = None
    kernel: CachedImage | None = None
    ramdisk: CachedImage | None = None


class Hook(Protocol):
    """One concern of a build."""

    name: str

    async def apply(self, build: Build) -> None:
        """Do it. Raises one of `faults.EXPECTED`."""
        ...

    async def undo(self, build: Build) -> None:
        """Leave nothing of it, also when `apply` never ran or stopped half-way."""
        ...


async def apply_all(hooks: tuple[Hook, ...], build: Build) -> None:
    """Run the hooks in order; stops at the first that fails."""
    for hook in hooks:
        with observed(hook.name, build.spec.server_id):
            await hook.apply(build)


async def undo_all(hooks: tuple[Hook, ...], build: Build) -> None:
    """Undo the hooks, last first. All are tried, and the first error met is raised after the last; but the first
    hook, whose directory holds the journal, is undone only when all others were."""
    failure: Exception | None = None
    for hook in reversed(hooks):
        if failure is not None and hook is hooks[0]:
            break
        try:
            with observed(f"remove {hook.name}", build.spec.server_id):
                await hook.undo(build)
        except EXPECTED as error:
            log.warning("server %s: undo of %s failed: %s", build.spec.server_id, hook.name, error)
            failure = failure or error
    if failure is not None:
        raise failure
