"""`pileus trace` and `pileus why` as an operator runs them: another reader of the databases of a running cloud."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from cloud import Cloud
from pileus.cli import records, trace, why
from pileus.cli.layout import Layout
from pileus.cli.trace import Wanted

WRITTEN_WITHIN_S = 15.0
LINE = re.compile(
    r"\s*(?P<offset>[+-]\d+\.\d{3})\s+(?P<took>running|\d+ ms)\s+(?P<role>\S+)\s+(?P<host>\S+)\s(?P<what>.*)"
)


def layout_of(cloud: Cloud) -> Layout:
    assert cloud.node is not None
    return Layout(cloud.node.config, cloud.node.tables, None)


def where(cloud: Cloud) -> list[str]:
    """Arguments that lead a command to the cloud: a configuration file that says where its databases are."""
    assert cloud.node is not None
    file = cloud.state_dir / "for-commands.toml"
    urls = "".join(f'{name} = "{url}"\n' for name, url in cloud.node.tables.get("database", {}).items())
    file.write_text(f'[node]\nstate_dir = "{cloud.state_dir}"\n[database]\n{urls}')
    return ["--config", str(file)]


def traced(cloud: Cloud, capsys: pytest.CaptureFixture[str], target: str, **options: Any) -> tuple[int, list[str]]:
    """Exit status and lines of `pileus trace`."""
    capsys.readouterr()
    status = trace.trace(layout_of(cloud), Wanted(target=target, **options))
    return status, capsys.readouterr().out.splitlines()


def hops_of(cloud: Cloud, capsys: pytest.CaptureFixture[str], target: str) -> list[dict[str, Any]]:
    """The hops of `pileus trace --json`."""
    status, lines = traced(cloud, capsys, target, as_json=True)
    assert status == 0
    return json.loads("\n".join(lines))["hops"]


def reason(cloud: Cloud, target: str, until: Callable[[str], bool] = bool) -> str:
    """The first line of `pileus why`, once it is so. Hops are written a moment after they happened."""
    deadline = time.monotonic() + WRITTEN_WITHIN_S
    while True:
        with records.opened(layout_of(cloud)) as (traces, databases):
            lines = why.explain(traces, databases.get("compute"), target)
        first = lines[0] if lines else ""
        if until(first) or time.monotonic() > deadline:
            return first
        time.sleep(0.1)
