"""What the compute tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actors import Shop

from cloud import Cloud


@pytest.fixture(scope="module")
def shop(cloud: Cloud) -> Shop:
    """A project with all that a server needs; one per test file."""
    return Shop(cloud)
