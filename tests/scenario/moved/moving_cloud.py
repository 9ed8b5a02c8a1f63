"""A one-process cloud on files, started by the ordinary command, and everything its move to real engines needs.

It has the client methods of `Cloud`. `move()` runs `pileus db move` to its end; `begin_move()` gives the process, to be
killed at some point. With `with MovingCloud(…) as cloud` it is up; it is down, and its schemas gone, at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import requests

from cloud import FAKE_DRIVERS, Cloud, free_port
from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from pileus.kernel.config.writer import to_toml
from pileus.kernel.process import secrets

DATABASES = ("compute", "identity", "image", "network", "placement", "trace")
FRESH = ("join",)
"""Databases that only a cloud with a broker has."""
COMMAND_TIMEOUT_S = 300.0
POLL_S = 0.02


class MovingCloud(Cloud):
    """`config` is its file; `wanted` the one with the new engines; `schemas` their names by service."""

    def __init__(
        self, directory: Path, mariadb: MariaDB, broker: RabbitMQ, tables: Mapping[str, Any] = FAKE_DRIVERS
    ) -> None:
        self.name = f"m{uuid.uuid4().hex[:8]}"
        self.state_dir = directory / "state"
        self.config, self.wanted = directory / "pileus.toml", directory / "new.toml"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = requests.Session()
        self.mariadb = mariadb
        self.schemas = {service: f"{self.name}_{service}" for service in (*DATABASES, *FRESH)}
        urls = {service: mariadb.url(schema) for service, schema in self.schemas.items()}
        node = {"host": "moving-host", "cloud": self.name, "state_dir": str(self.state_dir), "port": self.port}
        old = {"node": node, "join": {"port": free_port()}, **tables}
        self.config.write_text("# the operator's words\n" + to_toml(old))
        self.wanted.write_text(to_toml({**old, "database": urls, "bus": {"url": broker.url}}))
        self.wanted.chmod(0o600)

    def __enter__(self) -> Self:
        self.command("up")
        return self

    def __exit__(self, *_exc: object) -> None:
        self.http.close()
        self.command("down")
        for schema in self.schemas.values():
            self.mariadb.drop(schema)

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One of the operator's commands."""
        argv = [sys.executable, "-m", "pileus.cli.main", *arguments, "--config", str(self.config)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}\n{self.log()}"
        return done

    def move(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`pileus db move`, to its end."""
        return self.command("db", "move", str(self.wanted), check=check)

    def begin_move(self) -> subprocess.Popen[str]:
        """`pileus db move`, under way; its lines can be read as they come."""
        argv = [sys.executable, "-m", "pileus.cli.main", "db", "move", str(self.wanted), "--config", str(self.config)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)

    @property
    def is_switched(self) -> bool:
        """Whether the new configuration is in force."""
        return self.config.read_bytes() == self.wanted.read_bytes()

    @property
    def held_by(self) -> int | None:
        """The process that is this cloud's, or keeps others from being it."""
        words = (self.state_dir / "run" / "pileus.pid").read_text().split()
        return int(words[-1]) if words else None

    @property
    def admin_password(self) -> str:
        return secrets.secret(self.state_dir, secrets.ADMIN_PASSWORD)

    def log(self) -> str:
        """The end of the cloud's log."""
        file = self.state_dir / "log" / "pileus.log"
        return file.read_text(errors="replace")[-3_000:] if file.exists() else ""

    def rows(self, service: str, statement: str) -> list[tuple]:
        """Rows of a moved service; `{}` in the statement stands for the schema."""
        return self.mariadb.execute(statement.format(f"`{self.schemas[service]}`"))

    def seen(self, token: str) -> dict[str, Any]:
        """What clients see of everything that is worth moving."""
        paths = (
            "/compute/v2.1/servers/detail?all_tenants=1", "/compute/v2.1/flavors/detail", "/network/v2.0/ports",
            "/network/v2.0/networks", "/network/v2.0/subnets", "/network/v2.0/security-groups", "/image/v2/images",
            "/identity/v3/users", "/identity/v3/projects", "/identity/v3/roles", "/identity/v3/role_assignments",
        )  # fmt: skip
        found = {}
        for path in paths:
            answer = self.request("GET", path, token=token)
            assert answer.status_code == 200, answer.text
            found[path] = _in_order(answer.json())
        return found


def _in_order(value: Any) -> Any:
    """Lists in an order of their own: the API promises none, and engines differ in theirs."""
    if isinstance(value, dict):
        return {key: _in_order(inner) for key, inner in value.items()}
    return sorted(map(_in_order, value), key=json.dumps) if isinstance(value, list) else value


class Watch:
    """Asks a path all the time; `longest_s` is the longest time in which it was not answered with 200."""

    def __init__(self, url: str, token: str) -> None:
        self.longest_s = 0.0
        self.statuses: set[int] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(url, token))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ending.set()
        self._thread.join(COMMAND_TIMEOUT_S)

    def _run(self, url: str, token: str) -> None:
        last = time.monotonic()
        while not self._ending.is_set():
            try:
                status = requests.get(url, headers={"X-Auth-Token": token}, timeout=10).status_code
                self.statuses.add(status)
            except requests.RequestException:
                status = 0
            if status == 200:
                self.longest_s = max(self.longest_s, time.monotonic() - last)
                last = time.monotonic()
            self._ending.wait(POLL_S)
