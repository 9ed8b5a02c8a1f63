"""Callers for the tests of the network API."""

from __future__ import annotations

import itertools

import pytest

from cloud import Cloud

from .client import Caller

_numbers = itertools.count()


@pytest.fixture(scope="module")
def admin(cloud: Cloud) -> Caller:
    """The cloud's administrator."""
    return Caller(cloud, cloud.admin_token())


def _project(cloud: Cloud, admin: Caller, **more: object) -> Caller:
    project_id, token = cloud.new_project(f"net-{next(_numbers)}", **more)  # type: ignore[arg-type]
    return Caller(cloud, token, project_id)


@pytest.fixture
def alice(cloud: Cloud, admin: Caller) -> Caller:
    """A member of a fresh project."""
    return _project(cloud, admin)


@pytest.fixture
def bob(cloud: Cloud, admin: Caller) -> Caller:
    """A member of another fresh project."""
    return _project(cloud, admin)


@pytest.fixture
def reader(cloud: Cloud, admin: Caller) -> Caller:
    """One who may only read, in a project of their own."""
    return _project(cloud, admin, roles=("reader",))
