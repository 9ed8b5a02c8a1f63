"""Where all tables of the placement service are declared."""

from __future__ import annotations

from sqlalchemy import MetaData

METADATA = MetaData()
