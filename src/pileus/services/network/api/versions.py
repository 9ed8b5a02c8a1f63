"""Version documents, for anybody."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import PUBLIC, Route

RESOURCES = (
    ("network", "networks"), ("subnet", "subnets"), ("subnetpool", "subnetpools"), ("port", "ports"),
    ("router", "routers"),
    ("floatingip", "floatingips"), ("security-group", "security-groups"),
    ("security-group-rule", "security-group-rules"), ("quota", "quotas"), ("agent", "agents"),
    ("extension", "extensions"), ("availability_zone", "availability_zones"),
    ("network-ip-availability", "network-ip-availabilities"),
)  # fmt: skip


async def list_versions(call: Call[None]) -> dict[str, Any]:
    link = {"rel": "self", "href": f"{call.base_url}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


async def list_resources(call: Call[None]) -> dict[str, Any]:
    return {
        "resources": [
            {
                "name": name,
                "collection": collection,
                "links": [{"rel": "self", "href": f"{call.base_url}/v2.0/{collection}"}],
            }
            for name, collection in RESOURCES
        ]
    }


ROUTES = (
    Route(method="GET", path="/", handler=list_versions, policy=PUBLIC),
    Route(method="GET", path="/v2.0", handler=list_resources, policy=PUBLIC),
)
