"""Roles as processes of their own over real guests and networks, in a private host. The tests are in inside_real.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.compute_host.private_host import processes_with, run_tests_inside

TIME_LIMIT_S = 1_800.0

pytestmark = pytest.mark.guest


def test_in_a_private_host(tmp_path: Path) -> None:
    module = Path(__file__).with_name("inside_real.py")
    done = run_tests_inside(module, tmp_path, timeout_s=TIME_LIMIT_S, mortal=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    assert processes_with(str(tmp_path)) == []
