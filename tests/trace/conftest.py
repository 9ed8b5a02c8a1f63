"""What the trace tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "api" / "compute"))

from actors import Shop

from cloud import Cloud


@pytest.fixture(scope="module")
def shop(cloud: Cloud) -> Shop:
    """A project with all that a server needs, and no quota in its way; one per test file."""
    shop = Shop(cloud)
    unlimited = {"instances": -1, "cores": -1, "ram": -1}
    path = f"/os-quota-sets/{shop.user.project_id}"
    assert shop.admin.ask("PUT", path, {"quota_set": unlimited}).status_code == 200
    return shop
