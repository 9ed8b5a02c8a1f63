"""A cloud whose roles are processes of their own, on one machine: a real broker, a real database server, the ordinary
command.

    with SplitCloud(directory, broker=rabbitmq, database=mariadb) as cloud:
        cloud.request("GET", "/compute/v2.1/servers", token=cloud.admin_token())
        cloud.kill("compute-conductor")
        cloud.start_role("compute-conductor")

It has the client methods of `Cloud` (`request`, `token`, `admin_token`, `new_project`, and `url` where stock clients
find identity). Drivers are fakes unless `tables` says otherwise; with real ones it must run inside a private host.
`roles`: one process each; several names in one, with blanks between them, share a process (and are named so in `kill`
and the like). `compute-agent@h2` runs on another host, `h2`: a name in the cloud, with a directory for its guests.
`database`: None for files that the processes share. `environment` is added to that of the processes.
Of interest: `config` (the file that all processes read), `state_dir`, `log(role)`, `pid(role)`, `rows(service, table)`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import requests

from cloud import FAKE_DRIVERS, Cloud, free_port
from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from pileus.kernel.config.writer import to_toml

API_ROLES = {
    "identity-api": "identity", "placement-api": "placement", "image-api": "image", "network-api": "network",
    "compute-api": "compute",
}
ROLES = (
    *API_ROLES, "network-server", "network-l2", "network-l3", "network-dhcp", "compute-scheduler", "compute-conductor",
    "compute-metadata", "compute-agent",
)
SERVICES = tuple(API_ROLES.values())

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.02


class SplitCloud(Cloud):
    """Started by `start()`, ended by `stop()`; also a context manager. `host`: its one host's name."""

    request_timeout_s = 120.0

    def __init__(
        self, directory: Path, *, broker: RabbitMQ, database: MariaDB | None, tables: Mapping[str, Any] | None = None,
        roles: Iterable[str] = ROLES, environment: Mapping[str, str] | None = None, host: str = "split-host",
    ) -> None:
        self.name = f"s{uuid.uuid4().hex[:8]}"
        self.host = host
        self.state_dir = directory / "state"
        self.config = directory / "pileus.toml"
        self.roles = tuple(roles)
        self.ports: dict[str, int] = {}
        for group in self.roles:
            apis = [role for role in _names(group) if role in API_ROLES]
            self.ports |= dict.fromkeys(apis, free_port() if apis else 0)
        self.url = f"http://127.0.0.1:{self.ports['identity-api']}"
        self.http = requests.Session()
        self.database = database
        self.schemas = {service: f"{self.name}_{service}" for service in SERVICES}
        self._broker = broker
        self._tables = {key: dict(value) for key, value in FAKE_DRIVERS.items()} | dict(tables or {})
        self._environment = os.environ | dict(environment or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the schemas and the configuration, start all roles at once, wait until they serve."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        urls = {service: self.database.url(schema) for service, schema in self.schemas.items()} if self.database else {}
        node = {"host": self.host, "cloud": self.name, "state_dir": str(self.state_dir)}
        node |= {"port": self.ports["identity-api"]}  # for the operator's commands; processes are told theirs
        endpoints = {
            API_ROLES[role]: f"http://127.0.0.1:{port}/{API_ROLES[role]}" for role, port in self.ports.items()
        }
        own = {"node": node, "bus": {"url": self._broker.url}, "database": urls, "endpoints": endpoints}
        for group in self.roles:
            tables = {**own, **self._tables}
            if (host := self._host(group)) != self.host:
                compute = self._tables["compute"]
                directory = str(self.state_dir / "hosts" / host)
                tables["node"] = node | {"host": host}
                tables["compute"] = compute | {"agent": compute.get("agent", {}) | {"instances_dir": directory}}
            self._config(host).write_text(to_toml(tables))
            self._config(host).chmod(0o600)
        for role in self.roles:
            self.start_role(role, wait=False)
        for role in self.roles:
            self.wait_for(role)

    def stop(self) -> None:
        """End all roles as an operator would, and drop the schemas."""
        self.http.close()
        for process in self._processes.values():
            process.terminate()
        for role in tuple(self._processes):
            self._end(role)
        for schema in self.schemas.values() if self.database else ():
            self.database.drop(schema)

    def start_role(self, role: str, *, wait: bool = True) -> None:
        """Start one role's process; wait: until it serves."""
        assert role not in self._processes, f"{role} runs"
        command = ["setpriv", "--pdeathsig", "SIGKILL", sys.executable, "-m", "pileus.cli.main", "serve"]
        command += [*_names(role), "--config", str(self._config(self._host(role)))]
        if port := self._port(role):
            command += ["--port", str(port)]
        with self._log_file(role).open("ab") as log:
            self._processes[role] = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if wait:
            self.wait_for(role)

    def wait_for(self, role: str) -> None:
        """Until the role's process says that it serves."""
        deadline = time.monotonic() + START_TIMEOUT_S
        last, host = _names(role)[-1], self._host(role)
        where = f"{host}:{self.ports[last]}" if last in self.ports else host
        file = self.state_dir / "run" / f"{last}@{where}.pid"
        process = self._processes[role]
        while not (file.exists() and file.read_text() == f"{process.pid}\n"):
            assert process.poll() is None, f"{role} ended with {process.returncode}:\n{self.log(role)}"
            assert time.monotonic() < deadline, f"{role} did not start in time:\n{self.log(role)}"
            time.sleep(POLL_S)

    def _port(self, group: str) -> int | None:
        return next((self.ports[role] for role in _names(group) if role in self.ports), None)

    def _host(self, group: str) -> str:
        return group.partition("@")[2] or self.host

    def _config(self, host: str) -> Path:
        return self.config if host == self.host else self.config.with_name(f"{host}.toml")

    def kill(self, role: str) -> None:
        """SIGKILL the role's process and wait until it is gone."""
        process = self._processes.pop(role)
        process.kill()
        process.wait(STOP_TIMEOUT_S)

    def stop_role(self, role: str) -> None:
        """SIGTERM the role's process and wait until it is gone."""
        self._processes[role].terminate()
        self._end(role)

    def _end(self, role: str) -> None:
        process = self._processes.pop(role)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            raise AssertionError(f"{role} did not end in time:\n{self.log(role)}") from None
        assert code == 0, f"{role} ended with {code}:\n{self.log(role)}"

    def pid(self, role: str) -> int:
        """The role's process."""
        return self._processes[role].pid

    def log(self, role: str, last: int = 4_000) -> str:
        """The end of what the role's processes have written, all its lives in one."""
        file = self._log_file(role)
        return file.read_text(errors="replace")[-last:] if file.exists() else ""

    def _log_file(self, role: str) -> Path:
        return self.config.with_name(f"{role.replace(' ', '+')}.log")

    # -- clients ---------------------------------------------------------------------------------------------

    def url_of(self, path: str) -> str:
        """At the process that serves the path: `/network/…` goes to network-api."""
        port = self.ports[path.split("/")[1] + "-api"]
        return f"http://127.0.0.1:{port}{path}"

    @property
    def admin_password(self) -> str:
        """The password of `admin`."""
        from pileus.kernel.process import secrets

        return secrets.secret(self.state_dir, "admin-password")

    # -- the world -------------------------------------------------------------------------------------------

    def rows(self, service: str, table: str, where: str = "1=1", columns: str = "*") -> list[tuple]:
        """Rows of a service's table, read beside it."""
        statement = f"SELECT {columns} FROM {{}}{table} WHERE {where}"
        if self.database:
            return self.database.execute(statement.format(f"`{self.schemas[service]}`."))
        with contextlib.closing(sqlite3.connect(self.state_dir / "db" / f"{service}.sqlite")) as file:
            return file.execute(statement.format("")).fetchall()


def _names(group: str) -> list[str]:
    """The roles of a process."""
    return group.partition("@")[0].split()
