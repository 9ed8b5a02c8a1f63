"""What the image service limits per project. Names are those that operators know."""

from __future__ import annotations

from pileus.kernel.quota import Limited, Quotas
from pileus.services.image.config import ImageConfig
from pileus.services.image.db import images
from pileus.services.image.db.metadata import QUOTAS

IMAGE_COUNT, IMAGE_SIZE, IMAGE_UPLOADS = "image_count_total", "image_size_total", "image_count_uploading"

LIMITED = (
    Limited(IMAGE_COUNT, 1_000, images.count_of_project),
    Limited(IMAGE_SIZE, -1, images.mib_of_project),
    Limited(IMAGE_UPLOADS, 20, images.uploads_of_project),
)


def quotas(config: ImageConfig) -> Quotas:
    """The limits of this cloud."""
    return Quotas(QUOTAS, LIMITED, {limited.name: getattr(config, limited.name) for limited in LIMITED})
