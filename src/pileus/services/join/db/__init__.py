"""The tables of joining."""

from pileus.services.join.db import hosts, tokens  # noqa: F401
from pileus.services.join.db.metadata import METADATA

__all__ = ["METADATA"]
