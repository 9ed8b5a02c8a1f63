"""A plugin for pytest that prints a failure when it happens: a run that gets stuck afterwards has still said it."""

from __future__ import annotations

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """See pytest's reference."""
    if report.failed:
        print(report.longreprtext, flush=True)
