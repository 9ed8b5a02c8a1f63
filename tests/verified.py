"""For every test that ran a cloud: nothing is left over, says `pileus verify`, as an operator runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pileus.kernel.config.writer import to_toml

if TYPE_CHECKING:
    from cloud import Cloud

TIMEOUT_S = 300.0
CLEAN, FINDINGS, NOT_COMPARED = 0, 1, 2


def pileus(
    command: str, state_dir: Path, *arguments: str, config: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `pileus verify` or `pileus repair` on a cloud that runs, or does not."""
    argv = [sys.executable, "-m", "pileus.cli.main", command, "--state-dir", str(state_dir), *arguments]
    if config is not None:
        argv += ["--config", str(config)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S)


def verdict(state_dir: Path, *, config: Path | None = None, settle_s: float | None = None) -> dict[str, Any]:
    """What `pileus verify --json` says: `findings`, `problems`, `counts`, `seconds`."""
    settle = [] if settle_s is None else ["--settle-s", str(settle_s)]
    done = pileus("verify", state_dir, "--json", *settle, config=config)
    assert done.returncode in (CLEAN, FINDINGS, NOT_COMPARED) and done.stdout, done.stderr  # noqa: PT018
    return json.loads(done.stdout)


def assert_clean(
    state_dir: Path, *, config: Path | None = None, settle_s: float | None = None, everything: bool = True
) -> None:
    """Fail with the findings, if there are any. everything: also fail when a part could not be compared."""
    found = verdict(state_dir, config=config, settle_s=settle_s)
    words = [
        f"{item['name']} {item['resources']} {item['host']}\n    {item['says']}\n    {item['found']}"
        for item in found["findings"]
    ]
    if everything:
        words += [f"not compared: {item['part']}: {item['reason']}" for item in found["problems"]]
    assert not words, "pileus verify:\n" + "\n".join(words)


def config_of(cloud: Cloud) -> Path:
    """The configuration of a cloud in a thread of the test, written down for the command."""
    assert cloud.node is not None
    path = Path(cloud.state_dir) / "pileus.toml"
    tables = {"node": {"host": cloud.node.config.host, "port": cloud.port, "state_dir": str(cloud.state_dir)}}
    path.write_text(to_toml({**tables, **cloud.tables}))
    return path
