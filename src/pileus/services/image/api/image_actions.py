"""/v2/images/{id}/actions: deactivate and reactivate."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.services.image.api.lookup import enforce, visible_image
from pileus.services.image.db import images
from pileus.services.image.errors import ActionRefused
from pileus.services.image.states import ACTIVE, DEACTIVATED, may_become


async def deactivate(call: Call[None]) -> None:
    """Nobody but administrators can download the image from now on."""
    await call.rt.db.write(_set_status, call, "deactivate", DEACTIVATED)


async def reactivate(call: Call[None]) -> None:
    """Allow downloads again."""
    await call.rt.db.write(_set_status, call, "reactivate", ACTIVE)


def _set_status(tx: Tx, call: Call[Any], action: str, wanted: str) -> None:
    image = visible_image(tx, call)
    enforce(call, action, image)
    if image.status == wanted:
        return
    # saving -> active belongs to uploads alone.
    if image.status not in (ACTIVE, DEACTIVATED) or not may_become(image.status, wanted):
        raise ActionRefused(image_id=image.id, status=image.status, action=action)
    images.set_status(tx, image.id, image.status, wanted)


ROUTES = (
    Route(method="POST", path="/v2/images/{image_id}/actions/deactivate", handler=deactivate, policy="deactivate",
          success=204),
    Route(method="POST", path="/v2/images/{image_id}/actions/reactivate", handler=reactivate, policy="reactivate",
          success=204),
)
