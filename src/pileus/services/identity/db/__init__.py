"""The identity service's tables."""

from pileus.services.identity.db import (  # noqa: F401
    assignments,
    endpoints,
    groups,
    projects,
    regions,
    revocations,
    roles,
    services,
    token_keys,
    users,
)
from pileus.services.identity.db.metadata import METADATA

__all__ = ["METADATA"]
