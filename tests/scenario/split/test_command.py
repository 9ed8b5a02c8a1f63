"""`pileus serve` as an operator meets it: what it offers and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 120


def serve(state_dir: Path, *words: str, config: str = "") -> subprocess.CompletedProcess[str]:
    file = state_dir / "pileus.toml"
    file.write_text(config)
    command = [sys.executable, "-m", "pileus.cli.main", "serve", *words]
    command += ["--state-dir", str(state_dir), "--config", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_the_list_says_what_each_role_does(tmp_path: Path) -> None:
    shown = serve(tmp_path, "--list")
    assert shown.returncode == 0
    lines = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    assert {"identity-api", "compute-conductor", "compute-agent", "network-l3"} <= lines.keys()
    assert all(sentence.endswith(".") for sentence in lines.values())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("compute-api", "compute-agnet"), "there is no role 'compute-agnet'; there are compute-agent, compute-api"),
        ((), "name at least one role"),
        (("compute-api", "--port", "70000"), "no port"),
    ],
)
def test_what_does_not_exist_is_bad_usage(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    refused = serve(tmp_path, *words)
    assert refused.returncode == 2
    assert says in refused.stderr


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("", "need a message broker"),
        ("[bus]\nurl = 'http://x:y@host/'", "[bus] url"),
        ("[bus]\nurl = ['amqp://h/', 'http://x:y@host/']", "[bus] url"),
        ("[bus]\nurl = []", "[bus] url: the list is empty"),
        ("[bus]\nurl = 'amqp://h/'\n[endpoints]\nidentity = 'nowhere'", "[endpoints] identity: 'nowhere'"),
        ("[bus]\nurl = 'amqp://h/'\n[busses]", "[busses] is no table"),
    ],
)
def test_what_cannot_work_is_refused_with_the_option_that_is_wrong(tmp_path: Path, config: str, says: str) -> None:
    refused = serve(tmp_path, "compute-agent", config=config)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert "x:y" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_one_process_cloud_loads_nothing_of_the_broker() -> None:
    look = "import sys, pileus.cli.run, pileus.services as s; s.discover(); print('aio_pika' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert shown.stdout == "False\n"
