"""Databases: engines, whole transactions with retry, column types, migrations."""

from pileus.kernel.db.backend import DatabaseUnavailable
from pileus.kernel.db.database import Database, Tx
from pileus.kernel.db.types import Json, UtcDateTime

__all__ = ["Database", "DatabaseUnavailable", "Json", "Tx", "UtcDateTime"]
