"""Where all tables of the image service are declared."""

from __future__ import annotations

from sqlalchemy import MetaData

from pileus.kernel.quota import quota_table

METADATA = MetaData()
QUOTAS = quota_table(METADATA)
