"""The end of a log as `pileus up` shows it when a process did not come up."""

from __future__ import annotations

from pathlib import Path

from pileus.cli import daemon, processes
from pileus.cli.layout import Layout, find


def layout_in(directory: Path) -> Layout:
    found = find(None, str(directory))
    found.log_dir.mkdir()
    return found


def test_the_last_lines_of_this_start_only(tmp_path: Path) -> None:
    process = processes.whole(layout_in(tmp_path))
    process.log_file.write_text("before\n" + "".join(f"{number}\n" for number in range(40)))
    shown = daemon.log_tail(process, len("before\n")).splitlines()
    assert shown == [f"  {number}" for number in range(40 - daemon.LOG_TAIL_LINES, 40)]


def test_of_a_crash_the_thread_that_crashed(tmp_path: Path) -> None:
    process = processes.whole(layout_in(tmp_path))
    crash = ["Fatal Python error: Segmentation fault", "", "Current thread 0x1:"]
    lines = ["as ever"] * 30 + crash + ["  File x"] * 900
    process.log_file.write_text("\n".join(lines))
    shown = daemon.log_tail(process).splitlines()
    assert [line.strip() for line in shown[:3]] == crash
    assert len(shown) == daemon.CRASH_LINES
