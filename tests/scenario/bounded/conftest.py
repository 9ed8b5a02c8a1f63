"""Fixtures for what runs inside a private host."""

from __future__ import annotations

from tests.scenario.compute_host.conftest import hypervisor, state_dir

__all__ = ["hypervisor", "state_dir"]
