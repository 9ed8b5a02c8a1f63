"""A host whose configuration has table [processes], as an operator runs it: up, status, down, purge."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloud import FAKE_DRIVERS, free_port
from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from pileus.cli.api import Api
from pileus.kernel.config.writer import to_toml
from pileus.kernel.process import secrets
from verified import assert_clean

SERVICES = ("identity", "placement", "image", "network", "compute")
CONTROL = ("network-server", "compute-scheduler", "compute-conductor", "compute-metadata")
AGENTS = ("network-l2", "network-l3", "network-dhcp", "compute-agent")
TIMEOUT_S = 200.0


class Host:
    """One host's configuration, and the command on it."""

    def __init__(self, directory: Path, broker: RabbitMQ, database: MariaDB) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.name = f"p{uuid.uuid4().hex[:8]}"
        self.database = database
        self.ports = {"identity": free_port(), "apis": free_port()}
        self.schemas = {service: f"{self.name}_{service}" for service in SERVICES}
        others = [f"{service}-api" for service in SERVICES[1:]]
        apis = f"http://127.0.0.1:{self.ports['apis']}"
        self.tables: dict[str, Any] = {
            "node": {"host": "h1", "cloud": self.name, "state_dir": str(self.state)},
            "bus": {"url": broker.url},
            "database": {service: database.url(schema) for service, schema in self.schemas.items()},
            "endpoints": {
                "identity": f"http://127.0.0.1:{self.ports['identity']}/identity",
                **{service: f"{apis}/{service}" for service in SERVICES[1:]},
            },
            **{name: dict(table) for name, table in FAKE_DRIVERS.items()},
            "processes": {
                "identity": {"roles": ["identity-api", "identity-upkeep"], "port": self.ports["identity"]},
                "apis": {"roles": [*others, "image-reconciler"], "port": self.ports["apis"]},
                "control": {"roles": [*CONTROL]},
                "agents": {"roles": [*AGENTS]},
            },
        }
        self.config = self.written("pileus.toml")

    def written(self, name: str, **changed: Any) -> Path:
        """The configuration with some tables instead of its own."""
        file = self.directory / name
        file.write_text(to_toml({**self.tables, **changed}))
        file.chmod(0o600)
        return file

    def __call__(self, *words: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pileus.cli.main", *words, "--config", str(config or self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    def pid(self, process: str) -> int:
        return int((self.state / "run" / f"{process}.pid").read_text())

    def pids(self) -> dict[str, int]:
        return {name: self.pid(name) for name in self.tables["processes"]}

    def until_well(self) -> str:
        """What `status` shows once all agents have reported."""
        deadline = time.monotonic() + TIMEOUT_S
        while (shown := self("status")).returncode != 0 or "nova-compute" not in shown.stdout:
            assert time.monotonic() < deadline, shown.stdout + shown.stderr
            time.sleep(0.5)
        return shown.stdout


def runs(pid: int) -> bool:
    """Whether there is such a process; one that only waits to be noticed by init has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB) -> Iterator[Host]:
    """A host that is up."""
    host = Host(tmp_path_factory.mktemp("host"), rabbitmq, mariadb)
    try:
        started = host("up")
        assert (started.returncode, started.stderr) == (0, ""), started.stdout + started.stderr
        for name, pid in host.pids().items():
            line = rf"^{name} is up after .* s \(process {pid}, log {host.state}/log/{name}.log\)\.$"
            assert re.search(line, started.stdout, re.MULTILINE), started.stdout
        yield host
    finally:
        host("down")
        for schema in host.schemas.values():
            mariadb.drop(schema)


def test_each_process_of_the_table_runs_with_its_roles(host: Host) -> None:
    assert len(set(host.pids().values())) == 4
    for name, pid in host.pids().items():
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert words[words.index("serve") + 1 :][:2] == ["--process", name]
        assert os.getsid(pid) == pid, "it does not end with the shell that started it"
    log = (host.state / "log" / "control.log").read_text()
    assert f"serving roles={','.join(CONTROL)} host=h1 url=none" in log


def test_status_shows_processes_and_engines(host: Host) -> None:
    shown = host.until_well()
    for name, pid in host.pids().items():
        assert re.search(rf"^process   {name}: {pid}, up \d+ s, \d+ MiB", shown, re.MULTILINE), shown
        assert f"log {host.state}/log/{name}.log" in shown
    assert f"API       http://127.0.0.1:{host.ports['apis']} " in shown
    assert re.search(r"^broker    127.0.0.1:\d+ answers; \d+ topics: .*no dead messages$", shown, re.MULTILINE), shown
    for service in SERVICES:
        line = rf"^database  {service}: at 127.0.0.1:{host.database.port}, schema \d{{4}}, \d+ ms$"
        assert re.search(line, shown, re.MULTILINE), shown
    for binary in ("nova-scheduler", "nova-conductor", "nova-compute", "pileus-l3-agent"):
        assert f"up        {binary} on h1" in shown
    assert "guest:guest" not in shown


def test_clients_find_the_cloud_through_the_files_that_up_wrote(host: Host) -> None:
    openrc = (host.state / "openrc").read_text()
    assert f"OS_AUTH_URL=http://127.0.0.1:{host.ports['identity']}/identity/v3" in openrc
    api = Api("", host.tables["endpoints"])
    api.log_in("admin", secrets.secret(host.state, "admin-password"), "admin")
    assert api.get("/compute/v2.1/servers?limit=1") == {"servers": []}


def test_up_again_starts_only_what_does_not_run(host: Host) -> None:
    before = host.pids()
    os.kill(before["control"], signal.SIGKILL)
    ill = host("status")
    assert ill.returncode == 1
    assert f"process   DOWN control: it does not run; log {host.state}/log/control.log" in ill.stdout
    again = host("up")
    assert again.returncode == 0, again.stderr
    assert f"identity runs already (process {before['identity']})." in again.stdout
    assert "Starting control in " in again.stdout
    after = host.pids()
    assert {name for name in before if before[name] != after[name]} == {"control"}


def test_what_cannot_start_is_named_with_its_log_and_the_others_run(host: Host) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        more = {"late": {"roles": ["image-api"], "port": port}}
        config = host.written("more.toml", processes=host.tables["processes"] | more)
        refused = host("up", config=config)
    assert refused.returncode == 1
    log = host.state / "log" / "late.log"
    assert refused.stderr.startswith(f"pileus: late ended with status 1 (log {log}):\n"), refused.stderr
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in refused.stderr
    assert "agents runs already" in refused.stdout


def test_a_process_runs_once_and_in_the_foreground_by_its_name(host: Host) -> None:
    second = host("serve", "--process", "agents")
    assert (second.returncode, second.stderr) == (
        1, f"pileus: the process agents of the cloud in {host.state} runs already\n"
    )
    unknown = host("serve", "--process", "agnets")
    assert unknown.returncode == 1
    assert "does not name a process 'agnets'; there are: identity, apis, control, agents" in unknown.stderr
    assert host("serve", "--process", "agents", "--port", "1").returncode == 2


def test_status_does_not_hang_on_engines_that_do(host: Host) -> None:
    """They accept a connection and say nothing, as a machine under water does."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        database = host.tables["database"] | {"compute": f"mysql+pymysql://u:s3cret@{where}/compute"}
        config = host.written("silent.toml", bus={"url": f"amqp://u:s3cret@{where}/"}, database=database)
        begun = time.monotonic()
        shown = host("status", config=config)
    assert time.monotonic() - begun < 20
    assert shown.returncode == 1
    assert f"broker    DOWN {where} does not answer: no answer within 4 s" in shown.stdout
    assert "database  DOWN compute: " in shown.stdout
    assert "database  identity: " in shown.stdout, "the others are shown"
    assert "s3cret" not in shown.stdout + shown.stderr


def test_a_dead_broker_and_a_wrong_password_are_told_apart(host: Host) -> None:
    closed = f"127.0.0.1:{free_port()}"
    shown = host("status", config=host.written("closed.toml", bus={"url": f"amqp://u:s3cret@{closed}/"}))
    assert (shown.returncode, f"broker    DOWN {closed} does not answer: " in shown.stdout) == (1, True)
    wrong = host.tables["bus"]["url"].replace("guest:guest", "guest:s3cret")
    shown = host("status", config=host.written("wrong.toml", bus={"url": wrong}))
    assert shown.returncode == 1
    assert "ACCESS_REFUSED" in shown.stdout
    assert "s3cret" not in shown.stdout + shown.stderr


def test_verify_looks_at_such_a_host(host: Host) -> None:
    host.until_well()
    assert_clean(host.state, config=host.config)


def test_down_ends_all_of_them_and_what_the_table_no_longer_names(host: Host) -> None:
    pids = host.pids()
    less = {name: entry for name, entry in host.tables["processes"].items() if name != "agents"}
    config = host.written("less.toml", processes=less)
    assert f"agents (pid {pids['agents']}) runs, and the configuration does not name it" in host(
        "status", config=config
    ).stdout
    stopped = host("down", config=config)
    assert stopped.returncode == 0, stopped.stderr
    assert "The cloud is down on this host (agents, apis, control, identity)." in stopped.stdout
    assert not any(runs(pid) for pid in pids.values())
    assert host("status").stdout == f"The cloud in {host.state} does not run.\n"
    assert host("down").stdout == "The cloud does not run.\n"


def test_purge_takes_such_a_host_down_first(host: Host) -> None:
    assert host("up").returncode == 0
    pids = host.pids()
    purged = host("down", "--purge", "--state", "--yes")
    assert purged.returncode == 0, purged.stdout + purged.stderr
    assert not any(runs(pid) for pid in pids.values())
    assert not host.state.exists()
