"""A process whose standard error is its log file keeps that file, and a few older ones, within a bound."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WRITER = """
import logging, os, sys
from pathlib import Path
from pileus.kernel.observe import logs
logs.MAX_LOG_BYTES, logs.LOGS_KEPT = 10_000, 2
logs.configure("INFO", Path(sys.argv[1]))
for number in range(1_000):
    logging.getLogger("writer").info("line %d %s", number, "x" * 20)
os.write(2, b"from a C library\\n")
print("from standard output", flush=True)
"""


def write(file: Path, stderr: Path) -> None:
    with stderr.open("ab") as output:
        os.fchmod(output.fileno(), 0o600)
        command = [sys.executable, "-c", WRITER, str(file)]
        subprocess.run(command, stdout=output, stderr=output, check=True, timeout=60)


def test_old_lines_go_and_new_ones_stay(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    write(log, log)
    assert sorted(os.listdir(tmp_path)) == ["api.log", "api.log.1", "api.log.2"]
    for file in tmp_path.iterdir():
        assert file.stat().st_size < 10_200
        assert file.stat().st_mode & 0o777 == 0o600
    newest = log.read_text()
    assert newest.endswith("from a C library\nfrom standard output\n")
    together = "".join((tmp_path / name).read_text() for name in ("api.log.2", "api.log.1", "api.log"))
    numbers = [int(line.split("line ")[1].split()[0]) for line in together.splitlines() if "line " in line]
    assert numbers == list(range(numbers[0], 1_000)), "nothing is lost in between"


def test_what_is_not_its_own_file_is_left_alone(tmp_path: Path) -> None:
    """A systemd unit's journal, a terminal, somebody's own redirection."""
    (tmp_path / "api.log").touch()
    write(tmp_path / "api.log", tmp_path / "elsewhere")
    assert sorted(os.listdir(tmp_path)) == ["api.log", "elsewhere"]
    assert (tmp_path / "elsewhere").stat().st_size > 50_000
