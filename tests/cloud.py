"""A whole cloud for a test: a node with real services on a free loopback port, in a thread, with its own state.

Its databases are files (SQLite), or schemas in the session's MariaDB server when the test asks for
`database="mariadb"` or the environment says `PILEUS_TEST_DATABASE=mariadb`. They belong to the state directory: a cloud
that is started anew on it finds them again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import requests

from engines import mariadb
from engines.loopback import free_port
from pileus.kernel.config import NodeConfig
from pileus.kernel.process import Node
from pileus.services import discover

START_TIMEOUT_S = 150
REQUEST_TIMEOUT_S = 60

# Drivers that touch nothing on this machine; scenario tests with real guests give their own tables.
FAKE_DRIVERS: dict[str, Any] = {
    "compute": {"agent": {"hypervisor": "fake"}},
    "network": {"l2_driver": "fake", "l3_driver": "fake", "dhcp_driver": "fake"},
}


class Cloud:
    """Started by `start()`, ended by `stop()`; also a context manager."""

    request_timeout_s: float = REQUEST_TIMEOUT_S

    def __init__(
        self, state_dir: Path, *, services: Iterable[str] | None = None, tables: dict[str, Any] | None = None,
        roles: Iterable[str] | None = None, database: str | None = None,
    ) -> None:
        self.state_dir = state_dir
        self.services = discover(services)
        self.roles = roles
        known = {service.type for service in self.services}
        self.tables = {key: dict(value) for key, value in FAKE_DRIVERS.items() if key in known} | (tables or {})
        self.schemas: dict[str, str] = {}
        if (database or os.environ.get("PILEUS_TEST_DATABASE", "sqlite")) == "mariadb":
            self._use_mariadb()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.node: Node | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.http = requests.Session()

    def __enter__(self) -> Cloud:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> None:
        started = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(started,), name="cloud")
        self._thread.start()
        assert started.wait(START_TIMEOUT_S), "the cloud did not start in time"
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self.http.close()
        if self.loop is not None and self.node is not None:
            self.loop.call_soon_threadsafe(self.node.stopping.set)
        if self._thread is not None:
            self._thread.join(START_TIMEOUT_S)
            assert not self._thread.is_alive(), "the cloud did not stop in time"

    def drop_schemas(self) -> None:
        """Remove what it left in MariaDB. Not needed: the server goes with the session; but it keeps it small."""
        for schema in self.schemas.values():
            mariadb.shared().drop(schema)

    def _use_mariadb(self) -> None:
        owner = hashlib.sha256(str(self.state_dir).encode()).hexdigest()[:12]
        self.schemas = {service.type: f"c{owner}_{service.type}" for service in self.services if service.db}
        urls = {kind: mariadb.shared().url(schema, keep=True, by_socket=True) for kind, schema in self.schemas.items()}
        self.tables["database"] = urls | self.tables.get("database", {})

    def run(self, coroutine: Any, timeout_s: float = REQUEST_TIMEOUT_S) -> Any:
        """Run a coroutine in the cloud's loop and wait for it."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)

    def _main(self, started: threading.Event) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self.loop = asyncio.get_running_loop()
        config = NodeConfig(host="test-host", state_dir=str(self.state_dir), port=self.port)
        self.node = Node(config, self.services, {key: dict(value) for key, value in self.tables.items()})
        try:
            await self.node.start(self.roles)
        except BaseException as error:  # handed to the test's thread
            self._error = error
            self.node.stopping.set()
        started.set()
        await self.node.stopping.wait()
        await self.node.stop()

    # -- clients ---------------------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, *, token: str | None = None, json: Any = None, data: Any = None,
        headers: dict[str, str] | None = None, **more: Any,
    ) -> requests.Response:
        """One HTTP request to a path from the node's root, such as `/network/v2.0/networks`."""
        sent = dict(headers or {})
        if token is not None:
            sent["X-Auth-Token"] = token
        return self.http.request(
            method, self.url_of(path), json=json, data=data, headers=sent, **{"timeout": self.request_timeout_s, **more}
        )

    def url_of(self, path: str) -> str:
        """Where a path from the node's root is served."""
        return self.url + path

    def token(self, username: str, password: str, project: str | None, **scope: Any) -> str:
        """A token by password in the default domain, scoped to a project by name (None: unscoped)."""
        user = {"name": username, "password": password, "domain": {"id": "default"}}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if project is not None:
            auth["scope"] = {"project": {"name": project, "domain": {"id": "default"}}}
        auth.update(scope)
        response = self.request("POST", "/identity/v3/auth/tokens", json={"auth": auth})
        assert response.status_code == 201, response.text
        return response.headers["X-Subject-Token"]

    @property
    def admin_password(self) -> str:
        """The password of `admin`, made at the first start."""
        assert self.node is not None
        return self.node.secret("admin-password")

    def admin_token(self) -> str:
        """A token of `admin` in the project `admin`."""
        return self.token("admin", self.admin_password, "admin")

    def new_project(self, name: str, *, roles: Iterable[str] = ("member",)) -> tuple[str, str]:
        """A new project with a user of the same name; returns (project id, token of that user in it)."""
        admin = self.admin_token()
        project = self.request("POST", "/identity/v3/projects", token=admin, json={"project": {"name": name}})
        assert project.status_code == 201, project.text
        project_id = project.json()["project"]["id"]
        body = {"user": {"name": name, "password": "s3cret-" + name}}
        user = self.request("POST", "/identity/v3/users", token=admin, json=body)
        assert user.status_code == 201, user.text
        known = self.request("GET", "/identity/v3/roles", token=admin).json()["roles"]
        ids = {role["name"]: role["id"] for role in known}
        for role in roles:
            path = f"/identity/v3/projects/{project_id}/users/{user.json()['user']['id']}/roles/{ids[role]}"
            assert self.request("PUT", path, token=admin).status_code == 204
        return project_id, self.token(name, "s3cret-" + name, name)
