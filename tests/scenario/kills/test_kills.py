"""The cloud dies in every way there is, and loses nothing. The tests are in inside_*.py, each in a host of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.compute_host.private_host import run_tests_inside

TIME_LIMIT_S = 3_400.0

pytestmark = pytest.mark.guest


def _long(module: str) -> object:
    return pytest.param(module, marks=pytest.mark.long)


@pytest.mark.parametrize(
    "module",
    [
        "inside_boundaries.py",
        "inside_down.py",
        "inside_power.py",
        _long("inside_random_fake.py"),
        _long("inside_random_real.py"),
        _long("inside_split.py"),
    ],
)
def test_in_a_private_host(module: str, tmp_path: Path) -> None:
    done = run_tests_inside(Path(__file__).with_name(module), tmp_path, timeout_s=TIME_LIMIT_S, mortal=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2_000:]
