"""`pileus status` says where a process really writes."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from pileus.cli import processes
from pileus.cli.layout import Layout
from pileus.cli.processes import Process
from pileus.cli.status import where_it_logs
from pileus.kernel.config import NodeConfig


@pytest.fixture
def agents(tmp_path: Path) -> Process:
    table = {"agents": {"roles": ["network-l2"]}}
    tables = {"bus": {"url": "amqp://u:p@broker/"}, "processes": table}
    return processes.configured(Layout(NodeConfig(state_dir=str(tmp_path)), tables, None))[0]


def logs_of_one_that_writes_to(output: IO[bytes] | socket.socket, process: Process) -> str:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=output)
    try:
        return where_it_logs(process, child.pid)
    finally:
        child.communicate(b"\n")


def test_a_file_is_named(agents: Process, tmp_path: Path) -> None:
    with (tmp_path / "own.log").open("wb") as file:
        assert logs_of_one_that_writes_to(file, agents) == str(tmp_path / "own.log")


def test_what_systemd_takes_is_in_its_journal(agents: Process) -> None:
    journal, output = socket.socketpair()
    with journal, output:
        assert logs_of_one_that_writes_to(output, agents) == "journalctl -u pileus@agents.service"


def test_one_that_has_ended_has_its_usual_file(agents: Process) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert where_it_logs(agents, child.pid) == str(agents.log_file)
