"""The catalogue of identity's tables."""

from __future__ import annotations

from sqlalchemy import MetaData

METADATA = MetaData()
