"""The operator's command, with drivers that touch nothing, in a host of its own. The tests are in inside_command.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.compute_host.private_host import processes_with, run_tests_inside

TIME_LIMIT_S = 240.0

pytestmark = pytest.mark.net


def test_in_a_private_host(tmp_path: Path) -> None:
    done = run_tests_inside(Path(__file__).with_name("inside_command.py"), tmp_path, timeout_s=TIME_LIMIT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    assert processes_with(str(tmp_path)) == []
