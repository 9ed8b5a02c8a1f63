"""The catalogue of the tables of joining."""

from __future__ import annotations

from sqlalchemy import MetaData

METADATA = MetaData()
