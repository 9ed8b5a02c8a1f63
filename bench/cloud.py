"""A cloud in a process of its own, and a client that measures it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pileus.cli.status import memory_pss_mib
from pileus.kernel.process import secrets

START_TIMEOUT_S = 60
CONFIG = """
[node]
host = "bench"
state_dir = "{state}"
port = {port}
log_level = "WARNING"

[compute.agent]
hypervisor = "fake"
fake_vcpus = 100000
fake_ram_mib = 100000000

[network]
l2_driver = "fake"
l3_driver = "fake"
dhcp_driver = "fake"
"""


class BenchCloud:
    """Started with fake drivers; `ready_s` is how long it took until identity answered."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        config = directory / "pileus.toml"
        config.write_text(CONFIG.format(state=self.state, port=self.port))
        self._log = (directory / "log").open("wb")
        self._command = [sys.executable, "-m", "pileus.cli.main", "run", "--config", str(config)]
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_s = 0.0
        self.token = ""

    def start(self) -> None:
        """Start and wait until every API answers its version document."""
        begun = time.perf_counter()
        self.process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        while not self._ready():
            if self.process.poll() is not None or time.perf_counter() - begun > START_TIMEOUT_S:
                raise RuntimeError(f"the cloud did not start; see {self._log.name}")
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - begun
        self.token = self.log_in()[0]

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
        self._log.close()

    def _ready(self) -> bool:
        try:
            client = self.client()
            paths = ("/identity/v3", "/image/", "/network/", "/placement/", "/compute/")
            return all(client.send("GET", path)[0] < 400 for path in paths)
        except OSError:
            return False

    def log_in(self) -> tuple[str, dict[str, Any]]:
        """An administrator's token, and its body."""
        status, headers, body = self.client().send("POST", "/identity/v3/auth/tokens", self.password_body())
        assert status == 201, body
        return headers["x-subject-token"], body

    def password_body(self) -> dict[str, Any]:
        password = secrets.secret(self.state, "admin-password")
        user = {"name": "admin", "password": password, "domain": {"id": "default"}}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}

    def client(self) -> Client:
        return Client(self.port, self.token)

    def cpu_s(self) -> float:
        """CPU seconds of the cloud's process so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Proportional set size of the cloud's process, in MB (10^6 bytes)."""
        assert self.process is not None
        return memory_pss_mib(self.process.pid) * 2**20 / 1e6


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._token = token

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers (lower case) and decoded body."""
        sent = {"X-Auth-Token": self._token, "Content-Type": "application/json", **(headers or {})}
        data = body if body is None or isinstance(body, bytes) or hasattr(body, "read") else json.dumps(body)
        self._connection.request(method, path, body=data, headers=sent)
        response = self._connection.getresponse()
        content = response.read()
        found = {key.lower(): value for key, value in response.getheaders()}
        is_json = content and found.get("content-type", "").startswith("application/json")
        return response.status, found, json.loads(content) if is_json else content

    def must(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The body; an error answer is an exception."""
        status, _, content = self.send(method, path, body, headers)
        if status >= 400:
            raise RuntimeError(f"{method} {path} answered {status}: {content}")
        return content

    def read_through(self, path: str) -> int:
        """GET and throw away; returns the number of bytes."""
        self._connection.request("GET", path, headers={"X-Auth-Token": self._token})
        response = self._connection.getresponse()
        size = 0
        buffer = bytearray(1 << 20)
        while count := response.readinto(buffer):
            size += count
        return size
