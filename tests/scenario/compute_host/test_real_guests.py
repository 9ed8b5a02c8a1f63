"""The agent with a real libvirtd and real guests, in a host of its own. The tests themselves are in inside_*.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.scenario.compute_host.private_host import GUEST_IMAGE, processes_with, run_tests_inside

TIME_LIMIT_S = 240.0

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("libvirtd") is None, reason="libvirtd is not installed"),
    pytest.mark.skipif(not GUEST_IMAGE.exists(), reason="the guest image has not been built"),
]


@pytest.mark.parametrize("module", ["inside_driver.py", "inside_agent.py", "inside_foreign_daemon.py"])
def test_in_a_private_host(module: str, tmp_path: Path) -> None:
    done = run_tests_inside(Path(__file__).with_name(module), tmp_path, timeout_s=TIME_LIMIT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert processes_with(str(tmp_path)) == []
