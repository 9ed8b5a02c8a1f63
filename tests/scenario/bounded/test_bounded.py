"""Full disks, hung daemons and guests, slow stores and clients: each has a deadline, a clear fault and a clean-up.

What needs a host of its own (libvirtd, mounts, taps) is in inside_*.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.scenario.compute_host.private_host import processes_with, run_tests_inside

TIME_LIMIT_S = 420.0

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("libvirtd") is None, reason="libvirtd is not installed"),
]


@pytest.mark.parametrize("module", sorted(path.name for path in Path(__file__).parent.glob("inside_*.py")))
def test_in_a_private_host(module: str, tmp_path: Path) -> None:
    done = run_tests_inside(Path(__file__).with_name(module), tmp_path, timeout_s=TIME_LIMIT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert processes_with(str(tmp_path)) == []
