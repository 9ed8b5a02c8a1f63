"""Who uses the image service in its tests."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from cloud import Cloud


class Tenant(NamedTuple):
    """A project and a token of one of its members."""

    project_id: str
    token: str


@pytest.fixture(scope="module")
def admin(cloud: Cloud) -> str:
    """A token of the administrator."""
    return cloud.admin_token()


@pytest.fixture(scope="module")
def ann(cloud: Cloud) -> Tenant:
    """A project's member."""
    return Tenant(*cloud.new_project("ann"))


@pytest.fixture(scope="module")
def bob(cloud: Cloud) -> Tenant:
    """Another project's member."""
    return Tenant(*cloud.new_project("bob"))
