"""The whole cloud with real guests, driven by the stock client, in a host of its own. The tests are in inside_*.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.compute_host.private_host import processes_with, run_tests_inside

TIME_LIMIT_S = 3_000.0

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("module", ["inside_journey.py", "inside_many.py"])
def test_in_a_private_host(module: str, tmp_path: Path) -> None:
    done = run_tests_inside(Path(__file__).with_name(module), tmp_path, timeout_s=TIME_LIMIT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    assert processes_with(str(tmp_path)) == []
