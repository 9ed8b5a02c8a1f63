"""Fixtures for the placement API's tests."""

from __future__ import annotations

import pytest

from cloud import Cloud

from .client import Placement


@pytest.fixture(scope="module")
def placement(cloud: Cloud) -> Placement:
    """The API as an administrator."""
    return Placement(cloud, cloud.admin_token())


@pytest.fixture(scope="module")
def member(cloud: Cloud) -> tuple[str, Placement]:
    """An ordinary project's id, and the API as its member and reader."""
    project, token = cloud.new_project("tenant", roles=("member", "reader"))
    return project, Placement(cloud, token)
