"""The image service's manifest."""

from __future__ import annotations

from pileus.kernel.process import Role, Runtime, Service
from pileus.services.image import errors, policies
from pileus.services.image.api import (
    image_actions,
    image_data,
    image_tags,
    images,
    info,
    members,
    schemas,
    versions,
)
from pileus.services.image.config import ImageConfig
from pileus.services.image.quotas import quotas
from pileus.services.image.tasks import reconcile_stores
from pileus.services.image.worker.live_uploads import LiveUploads
from pileus.services.image.worker.stores import open_stores


async def setup(rt: Runtime[ImageConfig]) -> None:
    """What handlers and tasks need."""
    rt.put(open_stores(rt.config, rt.state_dir))
    rt.put(LiveUploads(rt.host, rt.clock.new_hex_id()))
    rt.put(quotas(rt.config))


SERVICE = Service(
    type="image",
    name="image",
    description="Disk images",
    path="/image",
    catalog_path="/image",
    usual_port=9292,
    config=ImageConfig,
    routes=(
        *versions.ROUTES, *images.ROUTES, *image_data.ROUTES, *image_actions.ROUTES, *image_tags.ROUTES,
        *members.ROUTES, *schemas.ROUTES, *info.ROUTES,
    ),
    policies=policies.RULES,
    render_fault=errors.render,
    roles=(
        Role(name="image-api", about="The image API: disk images and their data."),
        Role(name="image-reconciler", start=reconcile_stores.start, about="Removes what belongs to no image."),
    ),
    db="pileus.services.image.db",
    setup=setup,
)
