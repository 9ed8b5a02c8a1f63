"""The promises of the APIs, kept on MariaDB as they are on SQLite: the same tests, run again by a pytest of their own.

Every time: those that ask most of a database (states, paging, sorting, filters, tags, names, allocations, restarts).
In the long run: all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.mariadb import MariaDB

TESTS = Path(__file__).parent.parent
LIMIT_S = 1_800
EVERY_TIME = {
    "compute": ("test_servers.py", "test_two_hundred.py", "test_restart.py", "test_keypairs.py"),
    "identity": ("test_projects_and_domains.py", "test_roles_and_assignments.py"),
    "image": ("test_images.py", "test_listing.py"),
    "network": ("test_ports.py", "test_subnet_pools.py"),
    "placement": ("",),
}
ALL = sorted(path.name for path in (TESTS / "api").iterdir() if path.is_dir() and any(path.glob("test_*.py")))


def _run(paths: list[Path]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", *map(str, paths)]
    ended = subprocess.run(
        command, env=os.environ | {"PILEUS_TEST_DATABASE": "mariadb"}, cwd=TESTS.parent, capture_output=True, text=True,
        timeout=LIMIT_S, check=False,
    )
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]


@pytest.mark.parametrize("service", EVERY_TIME)
def test_what_asks_most_of_a_database(service: str, mariadb: MariaDB) -> None:
    _run([TESTS / "api" / service / name for name in EVERY_TIME[service]])


@pytest.mark.long
@pytest.mark.parametrize("folder", ALL)
def test_everything(folder: str, mariadb: MariaDB) -> None:
    _run([TESTS / "api" / folder])


@pytest.mark.long
def test_what_no_folder_holds(mariadb: MariaDB) -> None:
    _run(sorted((TESTS / "api").glob("test_*.py")))
