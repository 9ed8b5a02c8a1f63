"""Version discovery, for everybody: `/` answers 300, `/versions` and `/v2` 200, all with the same list."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http import PUBLIC, Call, Route
from pileus.services.image.versions import HISTORY


async def list_versions(call: Call[None]) -> dict[str, Any]:
    """Every minor version, newest first; the newest is CURRENT."""
    links = [{"rel": "self", "href": f"{call.base_url}/v2/"}]
    newest = HISTORY[-1][0]
    return {
        "versions": [
            {"id": f"v{number}", "status": "CURRENT" if number == newest else "SUPPORTED", "links": links}
            for number, _ in reversed(HISTORY)
        ]
    }


ROUTES = (
    Route(method="GET", path="/", handler=list_versions, policy=PUBLIC, success=300),
    Route(method="GET", path="/versions", handler=list_versions, policy=PUBLIC),
    Route(method="GET", path="/v2", handler=list_versions, policy=PUBLIC),
)
