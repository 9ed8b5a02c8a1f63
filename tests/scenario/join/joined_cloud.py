"""A cloud on two hosts: a controller whose roles are processes, and a machine that joined it by token.

Each host has a state directory and a configuration of its own; what they share is the broker, and a network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from cloud import FAKE_DRIVERS, free_port
from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.scenario.split.split_cloud import API_ROLES, SplitCloud

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120.0
POLL_S = 0.05
CONTROL = (
    " ".join((*API_ROLES, "identity-upkeep", "image-reconciler")),
    "network-server compute-conductor join-api",
)


class Controller(SplitCloud):
    """Everything but agents, in two processes; hosts may join."""

    def __init__(self, directory: Path, *, broker: RabbitMQ, database: MariaDB) -> None:
        self.join_port = free_port()
        tables = {**FAKE_DRIVERS, "join": {"port": self.join_port}}
        super().__init__(directory, broker=broker, database=database, tables=tables, roles=CONTROL, host="c1")
        self.schemas["join"] = f"{self.name}_join"

    def join_token(self, *processes: str) -> str:
        """A join token for one host."""
        words = [word for process in processes for word in ("--process", process)]
        done = pileus("host", "token", *words, "--config", str(self.config))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class JoinedHost:
    """A machine; `join` makes it a host, `start` its processes, as its configuration has them."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.state_dir = directory / "state"
        self.config = directory / "pileus.toml"
        self.log = directory / "log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def join(self, token: str) -> None:
        words = ("--host", self.name, "--config", str(self.config), "--state-dir", str(self.state_dir))
        done = pileus("join", "-", *words, stdin=token)
        assert done.returncode == 0, done.stderr
        assert token not in done.stdout + done.stderr

    def start(self) -> None:
        for process in tomllib.loads(self.config.read_text())["processes"].values():
            port = ["--port", str(process["port"])] if "port" in process else []
            command = ["setpriv", "--pdeathsig", "SIGKILL", sys.executable, "-m", "pileus.cli.main", "serve"]
            command += [*process["roles"], "--config", str(self.config), *port]
            with self.log.open("ab") as log:
                started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._processes.append(started)
            self._wait_for(process["roles"][0], process.get("port"), started)

    def _wait_for(self, role: str, port: int | None, process: subprocess.Popen[bytes]) -> None:
        file = self.state_dir / "run" / f"{role}@{self.name}{f':{port}' if port else ''}.pid"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (file.exists() and file.read_text() == f"{process.pid}\n"):
            assert process.poll() is None, self.log.read_text()[-4_000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4_000:]
            time.sleep(POLL_S)

    def environment(self) -> list[bytes]:
        """What its processes were started with, and their arguments."""
        return [
            Path(f"/proc/{process.pid}/{part}").read_bytes()
            for process in self._processes
            for part in ("environ", "cmdline")
        ]

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                assert process.wait(STOP_TIMEOUT_S) == 0, self.log.read_text()[-4_000:]
            finally:
                process.kill()
                process.wait()
        self._processes.clear()


def pileus(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The operator's command."""
    return subprocess.run(
        [sys.executable, "-m", "pileus.cli.main", *words], input=stdin, capture_output=True, text=True,
        timeout=COMMAND_TIMEOUT_S, check=False, env=os.environ,
    )  # fmt: skip
