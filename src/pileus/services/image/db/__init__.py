"""The image service's tables."""

from pileus.services.image.db import images, members, uploads  # noqa: F401
from pileus.services.image.db.metadata import METADATA, QUOTAS

__all__ = ["METADATA", "QUOTAS"]
