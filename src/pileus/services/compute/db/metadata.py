"""Where all tables of the compute service are declared, and those without queries of their own."""

from __future__ import annotations

from sqlalchemy import MetaData

from pileus.kernel.flows import FlowStore
from pileus.kernel.quota import quota_table

METADATA = MetaData()
QUOTAS = quota_table(METADATA)
FLOWS = FlowStore(METADATA)
