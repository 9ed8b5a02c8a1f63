"""`pileus systemd`: the unit that is written, and what starts when the host boots."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from pileus.cli import daemon, processes
from pileus.cli import layout as layouts
from pileus.cli.main import main

TABLE = """
[bus]
url = "amqp://u:p@127.0.0.1/"
[processes]
identity = {roles = ["identity-api"], port = 8901}
agents = {roles = ["compute-agent"]}
"""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    directory = tmp_path / "system"
    directory.mkdir()
    return directory


def install(units: Path, config: str, *more: str) -> str:
    file = units.parent / "a 100% config.toml"
    file.write_text(f"[node]\nstate_dir = '{units.parent}/state'\n{config}")
    return str(main(["systemd", "install", "--directory", str(units), "--config", str(file), *more]))


def sections(unit: str) -> dict[str, dict[str, str]]:
    """A unit as systemd reads it: sections of `Key=value` lines and comments, nothing else."""
    found: dict[str, dict[str, str]] = {}
    current = ""
    for line in unit.splitlines():
        if line.startswith("["):
            current = line.strip("[]")
            found[current] = {}
        elif line and not line.startswith("#"):
            key, separator, value = line.partition("=")
            assert separator, line
            assert key not in found[current], line
            found[current][key] = value
    return found


def test_one_process_has_one_unit(units: Path) -> None:
    assert install(units, "", "--enable") == "0"
    unit = sections((units / "pileus.service").read_text())
    assert unit.keys() == {"Unit", "Service", "Install"}
    assert shlex.split(unit["Service"]["ExecStart"])[1:4] == ["-m", "pileus.cli.main", "run"]
    assert (unit["Service"]["Type"], unit["Service"]["KillMode"]) == ("notify", "process")
    assert (units / "multi-user.target.wants" / "pileus.service").resolve() == units / "pileus.service"


def test_a_table_has_a_template_and_exactly_its_processes_are_enabled(units: Path) -> None:
    assert install(units, "", "--enable") == "0"
    assert install(units, TABLE, "--enable") == "0"
    wants = units / "multi-user.target.wants"
    assert sorted(os.listdir(wants)) == ["pileus@agents.service", "pileus@identity.service"]
    assert {link.resolve() for link in wants.iterdir()} == {units / "pileus@.service"}
    assert install(units, TABLE.replace("agents", "workers"), "--enable") == "0"
    assert sorted(os.listdir(wants)) == ["pileus@identity.service", "pileus@workers.service"]


def test_the_command_is_quoted_as_systemd_reads_it(units: Path) -> None:
    assert install(units, TABLE) == "0"
    command = sections((units / "pileus@.service").read_text())["Service"]["ExecStart"]
    words = shlex.split(command)
    assert words[1:6] == ["-m", "pileus.cli.main", "serve", "--process", "%i"]
    assert words[-1] == f"{units.parent}/a 100%% config.toml"
    assert not (units / "multi-user.target.wants").exists(), "nobody asked to enable anything"


def test_systemd_finds_nothing_wrong_with_them(units: Path) -> None:
    assert install(units, "") == install(units, TABLE) == "0"
    instance = units / "pileus@agents.service"
    shutil.copy(units / "pileus@.service", instance)
    command = ["systemd-analyze", "verify", str(units / "pileus.service"), str(instance)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_host_without_systemd_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["systemd", "install", "--directory", str(tmp_path / "none")]) == 1
    assert "is this a host with systemd?" in capsys.readouterr().err


def test_systemd_is_told_when_the_process_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        process = processes.whole(layouts.find(None, str(tmp_path / "state")))
        with daemon.only_process(process) as file:
            daemon.announce(file)
        assert notified.recv(100) == b"READY=1"
        assert "NOTIFY_SOCKET" not in os.environ
