"""A cloud started by its own command on this (private) host, and the stock client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pileus.kernel.process import secrets
from tests.scenario.compute_host.private_host import GUEST_IMAGE

T = TypeVar("T")

BIN = Path(sys.executable).parent
COMMAND_TIMEOUT_S = 300
CONFIG = """
[node]
host = "h1"
cloud = "{name}"
state_dir = "{state}"
"""
FAKES = """
[compute.agent]
hypervisor = "fake"
[network]
l2_driver = "fake"
l3_driver = "fake"
dhcp_driver = "fake"
"""


def wait_for(what: str, probe: Callable[[], T], timeout_s: float = 60.0) -> T:
    """The first true answer of `probe`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.3)
    return answer


def run(*argv: str, check: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, env={**os.environ, **(env or {})}
    )
    assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stdout}\n{done.stderr}"
    return done


class Installation:
    """The cloud in a directory. `more`: lines for its configuration. `environment`: of every command run here."""

    def __init__(
        self, directory: Path, *, name: str = "journey", more: str = "", environment: dict[str, str] | None = None
    ) -> None:
        self.state = directory / "state"
        self.config = directory / "pileus.toml"
        self.config.write_text(CONFIG.format(name=name, state=self.state) + more)
        # A crash in a C library, also one before the command itself asks for it, says where it was.
        self._environment = {"PYTHONFAULTHANDLER": "1", **(environment or {})}

    def pileus(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The operator's command."""
        command = (str(BIN / "pileus"), *arguments, "--config", str(self.config))
        return run(*command, check=check, env=self._environment)

    def secret(self, name: str) -> str:
        """A secret that the cloud made for itself."""
        return secrets.secret(self.state, name)

    def demo(self) -> str:
        """Run `pileus demo`; returns what it printed."""
        return self.pileus("demo", "--image", str(GUEST_IMAGE)).stdout

    def openstack(self, *arguments: str, cloud: str = "pileus", check: bool = True) -> Any:
        """The stock client; returns its decoded output, or its error text when `check` is false."""
        env = {"OS_CLIENT_CONFIG_FILE": str(self.state / "clouds.yaml"), "OS_CLOUD": cloud}
        done = run(str(BIN / "openstack"), *arguments, check=check, env=env)
        if done.returncode != 0:
            return done.stderr
        return json.loads(done.stdout) if "-f" in arguments else done.stdout

    def ssh(self, address: str, command: str, *, key: Path | None = None, check: bool = True) -> str:
        """Run a command in a guest as root."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10",
                   "BatchMode=yes"]  # fmt: skip
        argv = ["ssh", "-i", str(key or self.state / "demo_key")]
        for option in options:
            argv += ["-o", option]
        done = run(*argv, f"root@{address}", command, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip() if done.returncode == 0 else ""

    def process_of(self, server_id: str) -> int | None:
        """The QEMU process of a server."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if "qemu-system" in command and f"uuid {server_id}" in command:
                    return int(entry.name)
        return None

    def tear_down(self) -> None:
        """Delete all servers, stop the cloud, end what the host still runs for it."""
        servers = self.openstack("server", "list", "--all-projects", "-f", "json", cloud="pileus-admin")
        for server in servers:
            self.openstack("server", "delete", "--wait", server["ID"], cloud="pileus-admin", check=False)
        self.pileus("down")
        ours = [int(file.read_text()) for file in (self.state / "compute" / "libvirt").glob("*.pid")]
        ours += [pid for pid in _pids_of("dnsmasq") if _root_of(pid) == _root_of(os.getpid())]
        for pid in ours:
            os.kill(pid, signal.SIGTERM)
        wait_for("the end of libvirtd and dnsmasq", lambda: not any(Path(f"/proc/{pid}").exists() for pid in ours))


def _pids_of(name: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and (entry / "comm").read_text().strip() == name:
                found.append(int(entry.name))
    return found


def _root_of(pid: int) -> int:
    """Which /run a process sees: a private host has its own, also in mount namespaces made inside it."""
    try:
        return os.stat(f"/proc/{pid}/root/run").st_dev
    except OSError:
        return 0
