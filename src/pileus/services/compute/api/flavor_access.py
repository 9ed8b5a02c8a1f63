"""Which projects may use a private flavor."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Route
from pileus.services.compute.api import values
from pileus.services.compute.api.flavors import reachable
from pileus.services.compute.db import flavors
from pileus.services.compute.errors import FlavorAccessExists, FlavorAccessNotFound, FlavorIsPublic


class Tenant(msgspec.Struct, forbid_unknown_fields=True):
    tenant: values.Name


def _view(flavor_id: str, projects: list[str]) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": project} for project in projects]}


async def list_access(call: Call[None]) -> dict[str, Any]:
    """The projects of a private flavor."""
    flavor_id = call.path["flavor_id"]

    def read(tx: Tx) -> list[str]:
        if reachable(tx, flavor_id, None).is_public:
            raise NotFound("Access list not available for public flavors.")
        return flavors.access(tx, flavor_id)

    return _view(flavor_id, await call.rt.db.read(read))


async def add_access(call: Call[Tenant]) -> dict[str, Any]:
    """Let a project use it."""
    flavor_id, project_id = call.path["flavor_id"], call.body.tenant

    def write(tx: Tx) -> list[str]:
        if reachable(tx, flavor_id, None).is_public and call.at_least("2.7"):
            raise FlavorIsPublic()
        if project_id in flavors.access(tx, flavor_id):
            raise FlavorAccessExists(flavor_id=flavor_id, project_id=project_id)
        flavors.add_access(tx, flavor_id, project_id)
        return flavors.access(tx, flavor_id)

    return _view(flavor_id, await call.rt.db.write(write))


async def remove_access(call: Call[Tenant]) -> dict[str, Any]:
    """Take it back."""
    flavor_id, project_id = call.path["flavor_id"], call.body.tenant

    def write(tx: Tx) -> list[str]:
        reachable(tx, flavor_id, None)
        if not flavors.remove_access(tx, flavor_id, project_id):
            raise FlavorAccessNotFound(flavor_id=flavor_id, project_id=project_id)
        return flavors.access(tx, flavor_id)

    return _view(flavor_id, await call.rt.db.write(write))


_RULE = "os_compute_api:os-flavor-access"
_ACTION = "/v2.1/flavors/{flavor_id}/action"

ROUTES = (
    Route(method="GET", path="/v2.1/flavors/{flavor_id}/os-flavor-access", handler=list_access, policy=_RULE),
    Route(method="POST", path=_ACTION, action="addTenantAccess", handler=add_access, body=Tenant,
          policy=f"{_RULE}:add_tenant_access"),
    Route(method="POST", path=_ACTION, action="removeTenantAccess", handler=remove_access, body=Tenant,
          policy=f"{_RULE}:remove_tenant_access"),
)
