"""Version discovery at the root; it needs no token."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http import PUBLIC, Call, Reply, Route
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.versions import MICROVERSIONS


async def show_versions(call: Call[Any]) -> Reply:
    """The one version there is, and its range of microversions."""
    version = {
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": str(MICROVERSIONS.minimum),
        "max_version": str(MICROVERSIONS.maximum),
        "links": [{"rel": "self", "href": ""}],
    }
    return fresh(call, {"versions": [version]})


ROUTES = (Route(method="GET", path="/", handler=show_versions, policy=PUBLIC),)
