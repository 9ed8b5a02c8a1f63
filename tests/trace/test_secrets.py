"""Neither logs nor traces hold a secret, even when everything is logged and much goes wrong."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cloud import REQUEST_TIMEOUT_S, free_port
from pileus.kernel.process import secrets

START_TIMEOUT_S = 60.0
SERVICES = ("compute", "identity", "image", "network", "placement")
WRITTEN_WITHIN_S = 15.0
PASSWORD, NEW_PASSWORD, ADMIN_PASS = "pw-Th1sIsSecret", "pw-An0therSecret", "pw-0fTheGuest"
USER_DATA = base64.b64encode(b"#!/bin/sh\necho user-data-is-secret").decode()
CONFIG = """
[node]
host = "h1"
state_dir = "{state_dir}"
port = {port}
log_level = "DEBUG"
[compute.agent]
hypervisor = "fake"
[network]
l2_driver = "fake"
l3_driver = "fake"
dhcp_driver = "fake"
"""


class Process:
    """A cloud as a process of its own, with its log in a file."""

    def __init__(self, directory: Path) -> None:
        self.port, self.state_dir, self.log = free_port(), directory / "state", directory / "log"
        config = directory / "pileus.toml"
        config.write_text(CONFIG.format(state_dir=self.state_dir, port=self.port))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pileus.cli.main", "run", "--config", str(config)], stdout=log, stderr=log
            )
        self.tokens: list[str] = []
        self._until_it_answers()

    def ask(self, method: str, path: str, token: str = "", body: Any = None, **headers: str) -> requests.Response:
        return requests.request(
            method, f"http://127.0.0.1:{self.port}{path}", json=body, timeout=REQUEST_TIMEOUT_S,
            headers={"X-Auth-Token": token, "OpenStack-API-Version": "compute 2.96", **headers},
        )

    def log_in(self, name: str, password: str, project: str) -> requests.Response:
        user = {"name": name, "password": password, "domain": {"id": "default"}}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        answer = self.ask("POST", "/identity/v3/auth/tokens", body={"auth": {"identity": identity, "scope": scope}})
        if answer.status_code == 201:
            self.tokens.append(answer.headers["X-Subject-Token"])
        return answer

    def secrets(self) -> list[str]:
        """Those that the cloud made for itself."""
        names = ("admin-password", "token-keys", *(f"service-password-{kind}" for kind in SERVICES))
        return list(secrets.known(self.state_dir, names).values())

    def written(self) -> bytes:
        """The log and the trace database."""
        files = [self.log, *(self.state_dir / "db").glob("trace.sqlite*")]
        return b"".join(path.read_bytes() for path in files)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                admin = secrets.known(self.state_dir, ["admin-password"]).get("admin-password", "")
                if admin and self.log_in("admin", admin, "admin").status_code == 201:
                    return
            except (OSError, ValueError):
                pass
            assert time.monotonic() < deadline, self.log.read_text()[-2_000:]
            assert self._process.poll() is None, self.log.read_text()[-2_000:]
            time.sleep(0.1)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = Process(tmp_path_factory.mktemp("secrets"))
    yield running
    running.stop()


def test_nothing_secret_is_written_anywhere(process: Process) -> None:
    admin = process.tokens[0]
    user = {"user": {"name": "eve", "password": PASSWORD}}
    made = process.ask("POST", "/identity/v3/users", admin, user).json()["user"]["id"]
    change = {"user": {"password": NEW_PASSWORD, "original_password": PASSWORD}}
    assert process.ask("POST", f"/identity/v3/users/{made}/password", admin, change).status_code in (204, 401, 403)
    assert process.log_in("eve", "pw-Wr0ngGuess", "admin").status_code == 401
    # Refused for every reason there is: their bodies and headers hold secrets all the same.
    server = {"name": "x", "flavorRef": "none", "imageRef": "none", "networks": "none", "adminPass": ADMIN_PASS,
              "user_data": USER_DATA, "metadata": {"key": "metadata-is-the-owners"}}
    refused = process.ask("POST", "/compute/v2.1/servers", admin, {"server": server})
    assert refused.status_code == 400
    process.ask("POST", "/compute/v2.1/servers", admin, {"server": server | {"adminPass": 7, "user_data": USER_DATA}})
    process.ask("POST", "/compute/v2.1/servers", admin, {"server": server | {"unknown": ADMIN_PASS}})
    process.ask("GET", f"/identity/v2.0/tokens/{admin}", admin)
    process.ask("GET", "/identity/v3/auth/tokens", admin, **{"X-Subject-Token": admin[:-3] + "xxx"})
    process.ask("DELETE", "/identity/v3/auth/tokens", admin, **{"X-Subject-Token": admin})

    request = refused.headers["X-Openstack-Request-Id"].encode()
    deadline = time.monotonic() + WRITTEN_WITHIN_S
    while process.written().count(request) < 2:
        assert time.monotonic() < deadline, "the refused request is neither in the log nor in the trace"
        time.sleep(0.1)
    written = process.written()
    hidden = [PASSWORD, NEW_PASSWORD, ADMIN_PASS, "pw-Wr0ngGuess", USER_DATA, "user-data-is-secret",
              "metadata-is-the-owners", *process.secrets(), *process.tokens, *(one[:40] for one in process.tokens)]
    assert [secret for secret in hidden if secret.encode() in written] == []
