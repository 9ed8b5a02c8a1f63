"""The hooks of a build, in order."""

from typing import Final

from pileus.services.compute.worker.build import Hook
from pileus.services.compute.worker.hooks.config_drive import ConfigDrive
from pileus.services.compute.worker.hooks.directory import Directory
from pileus.services.compute.worker.hooks.guest import Guest
from pileus.services.compute.worker.hooks.image import Image
from pileus.services.compute.worker.hooks.local_disks import LocalDisks
from pileus.services.compute.worker.hooks.root_disk import RootDisk
from pileus.services.compute.worker.hooks.taps import Taps

BUILD_HOOKS: Final[tuple[Hook, ...]] = (
    Directory(),
    Image(),
    RootDisk(),
    LocalDisks(),
    ConfigDrive(),
    Taps(),
    Guest(),
)

IMAGINED_HOOKS: Final[tuple[Hook, ...]] = (Directory(), Guest())
"""The hooks for guests that do not really run: no image, disk or tap is made for them."""
