"""Version discovery: GET / and GET /v3."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http import PUBLIC, Call, Reply, Route

VERSION = "v3.14"
UPDATED = "2020-04-07T00:00:00Z"


def _document(call: Call[None]) -> dict[str, Any]:
    return {
        "id": VERSION,
        "status": "stable",
        "updated": UPDATED,
        "links": [{"rel": "self", "href": call.base_url + "/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


async def list_versions(call: Call[None]) -> Reply:
    """What there is, with 300 as clients expect."""
    return Reply({"versions": {"values": [_document(call)]}}, headers={"Location": call.base_url + "/v3/"})


async def show_version(call: Call[None]) -> dict[str, Any]:
    """The only version."""
    return {"version": _document(call)}


ROUTES = (
    Route(method="GET", path="/", handler=list_versions, policy=PUBLIC, success=300),
    Route(method="GET", path="/v3", handler=show_version, policy=PUBLIC),
)
