"""Where a cloud's files are: configuration, state, process id, log, credentials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from pileus.kernel import config as configuration
from pileus.kernel.config import NodeConfig

SYSTEM_CONFIG = Path("/etc/pileus/pileus.toml")


class Layout(msgspec.Struct, frozen=True):
    """A cloud on this machine, as its configuration file and the command line describe it."""

    node: NodeConfig
    tables: dict[str, Any]
    config_file: Path | None

    @property
    def state_dir(self) -> Path:
        return Path(self.node.state_dir)

    @property
    def run_dir(self) -> Path:
        """Where running processes have their pid files."""
        return self.state_dir / "run"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "log"

    @property
    def clouds_file(self) -> Path:
        return self.state_dir / "clouds.yaml"

    @property
    def openrc_file(self) -> Path:
        return self.state_dir / "openrc"


def find(config: str | None, state_dir: str | None, *, may_be_missing: bool = False) -> Layout:
    """The layout for `--config` and `--state-dir`, else $PILEUS_CONFIG, else /etc/pileus/pileus.toml, else defaults.

    may_be_missing: the named file is to be written.
    """
    named = config or os.environ.get("PILEUS_CONFIG")
    path = Path(named) if named else SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None
    if named and path is not None and not path.exists() and not may_be_missing:
        raise configuration.ConfigError(f"there is no configuration file {path}")
    tables = configuration.load(path)
    if state_dir is not None:
        tables["node"] = tables.get("node", {}) | {"state_dir": str(Path(state_dir).absolute())}
    return Layout(configuration.section(tables, "node", NodeConfig), tables, path)
