"""Types of names, ids and amounts in bodies."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pileus.services.placement.logic.amounts import MAX_INT
from pileus.services.placement.logic.uuids import FORM

Uuid = Annotated[str, msgspec.Meta(pattern=rf"^{FORM}\Z", max_length=36)]
UuidKey = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F-]{36}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_]+\Z", min_length=1, max_length=255)]
OwnerId = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=MAX_INT)]
