"""Table [processes]: what can be meant, what cannot, and where things are then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.cli import processes
from pileus.cli.layout import Layout
from pileus.kernel.config import ConfigError, NodeConfig

API = {"roles": ["identity-api"], "port": 8901}
AGENTS = {"roles": ["network-l2", "compute-agent"]}


def layout(tmp_path: Path, table: Any = None, **tables: Any) -> Layout:
    node = NodeConfig(host="h1", state_dir=str(tmp_path))
    given = {"bus": {"url": "amqp://u:p@broker/"}} | tables | ({} if table is None else {"processes": table})
    return Layout(node, given, tmp_path / "pileus.toml")


def test_without_the_table_one_process_runs_everything(tmp_path: Path) -> None:
    (only,) = processes.configured(layout(tmp_path, bus={"url": "local"}))
    assert (only.name, only.roles, only.port) == ("pileus", None, 8900)
    assert only.log_file == tmp_path / "log" / "pileus.log"
    assert only.command[2:4] == ["pileus.cli.main", "run"]


def test_each_line_is_a_process_with_its_own_port_and_files(tmp_path: Path) -> None:
    api, agents = processes.configured(layout(tmp_path, {"api": API, "agents": AGENTS}))
    assert api.layout.node.port == 8901
    assert api.probe_url == "http://127.0.0.1:8901/identity/v3"
    assert agents.probe_url is None
    assert agents.command[3:6] == ["serve", "--process", "agents"]
    assert {api.pid_file.name, agents.pid_file.name} == {"api.pid", "agents.pid"}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "names no process"),
        ({"api": {"roles": ["identity-api"]}}, "api: has an API (identity-api) and no port"),
        ({"a": AGENTS | {"port": 8901}}, "a: has a port and no API among its roles"),
        ({"a": {"roles": ["compute-agnet"]}}, "a: there is no role 'compute-agnet'; there are compute-agent, "),
        ({"a": {"roles": []}}, "a: has no roles"),
        ({"a": {"role": ["x"]}}, "a: Object"),
        ({"a": {"roles": ["compute-agent"], "port": 70_000}}, "a: Expected `int` <= 65535"),
        ({"a": AGENTS, "b": {"roles": ["compute-agent"]}}, "a, b: all have the role compute-agent, which runs once"),
        ({"a": API, "b": {"roles": ["image-api"], "port": 8901}}, "a, b: have the same port 8901"),
        ({"pileus": AGENTS}, "a process is named with a-z, 0-9 and -, and not pileus"),
        ({"../x": AGENTS}, "../x: a process is named with"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(tmp_path: Path, table: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=r"^\[processes\] ") as refused:
        processes.configured(layout(tmp_path, table))
    assert says in str(refused.value)


def test_processes_need_a_broker(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a message broker"):
        processes.configured(layout(tmp_path, {"agents": AGENTS}, bus={"url": "local"}))


def test_a_service_is_where_clients_reach_it(tmp_path: Path) -> None:
    here = layout(tmp_path, {"api": API}, endpoints={"compute": "https://vip:8905/compute/"})
    assert processes.service_url(here, "compute") == "https://vip:8905/compute"
    assert processes.service_url(here, "identity") == "http://127.0.0.1:8901/identity"
    assert processes.api_roots(here).keys() == {"compute", "identity"}
    with pytest.raises(ConfigError, match="where image is"):
        processes.service_url(here, "image")
    public = msgspec.structs.replace(here.node, public_url="https://cloud.example.com/")
    shown = processes.service_url(msgspec.structs.replace(here, node=public), "compute")
    assert shown == "https://cloud.example.com/compute"


def test_only_a_host_with_identity_has_the_administrators_login(tmp_path: Path) -> None:
    assert processes.holds_identity(layout(tmp_path, {"api": API}))
    assert not processes.holds_identity(layout(tmp_path, {"agents": AGENTS}))
