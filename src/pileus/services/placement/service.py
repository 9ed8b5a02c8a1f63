"""The placement service: who has which resources, and who claimed them."""

from __future__ import annotations

from pileus.kernel.process import Role, Service
from pileus.services.placement import errors, versions
from pileus.services.placement.api import (
    aggregates,
    allocation_candidates,
    allocations,
    inventories,
    reshaper,
    resource_classes,
    resource_providers,
    traits,
    usages,
)
from pileus.services.placement.api import versions as versions_api
from pileus.services.placement.config import PlacementConfig
from pileus.services.placement.policies import RULES

SERVICE = Service(
    type="placement",
    name="placement",
    description="Resource inventories and claims",
    path="/placement",
    catalog_path="/placement",
    usual_port=8778,
    config=PlacementConfig,
    routes=(
        *versions_api.ROUTES,
        *resource_providers.ROUTES,
        *inventories.ROUTES,
        *aggregates.ROUTES,
        *traits.ROUTES,
        *resource_classes.ROUTES,
        *usages.ROUTES,
        *allocations.ROUTES,
        *allocation_candidates.ROUTES,
        *reshaper.ROUTES,
    ),
    policies=RULES,
    render_fault=errors.render,
    roles=(Role(name="placement-api", about="The placement API: what hosts have, and who claimed it."),),
    db="pileus.services.placement.db",
    versions=versions.MICROVERSIONS,
    versioned_prefix="/",
    media_types=("application/json",),
)
