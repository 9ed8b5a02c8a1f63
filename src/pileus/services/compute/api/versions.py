"""Version discovery, for everybody."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http import PUBLIC, Call, Route
from pileus.services.compute.versions import MICROVERSIONS

UPDATED = "2013-07-23T11:33:21Z"
MEDIA_TYPE = {"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}


def _document(root: str) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": str(MICROVERSIONS.maximum),
        "min_version": str(MICROVERSIONS.minimum),
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{root}/v2.1/"}],
    }


async def list_versions(call: Call[None]) -> dict[str, Any]:
    """The major versions, of which there is one."""
    return {"versions": [_document(call.base_url)]}


async def show_version(call: Call[None]) -> dict[str, Any]:
    """The one version in detail."""
    return {"version": {**_document(call.base_url), "media-types": [MEDIA_TYPE]}}


ROUTES = (
    Route(method="GET", path="/", handler=list_versions, policy=PUBLIC),
    Route(method="GET", path="/v2.1", handler=show_version, policy=PUBLIC),
)
