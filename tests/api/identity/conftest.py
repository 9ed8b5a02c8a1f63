"""Fixtures of identity's API tests."""

from __future__ import annotations

import pytest

from cloud import Cloud
from tests.api.identity.people import Admin


@pytest.fixture
def admin(cloud: Cloud) -> Admin:
    """The administrator of the running cloud."""
    return Admin(cloud)
