"""A lab for a test, and how to see what it leaves.

    with Rehearsal(tmp_path, "three-nodes") as lab:
        lab.stock("server", "list")

Labs are made by the command, in a directory of the test's own; a test that fails takes its lab away as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

from pileus.lab import hosts, kernel_view
from pileus.lab.hosts import Host
from pileus.lab.kernel_view import Seen

ROOT = Path(__file__).parents[2]
GUEST_IMAGE = (ROOT / "build" / "guest" / "pileus-guest.qcow2").resolve()
COMMAND = (sys.executable, "-m", "pileus.cli.main", "lab")
TIMEOUT_S = 500.0


class Rehearsal:
    """One lab. `said`: what `lab up` has printed."""

    def __init__(self, directory: Path, layout: str) -> None:
        self.labs = directory / "labs"
        self.name = f"t{uuid.uuid4().hex[:6]}"
        self.layout = layout
        self.said = ""

    def __enter__(self) -> Self:
        try:
            self.said = self.command("up", "--layout", self.layout).stdout
        except BaseException:
            self.command("down")
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.command("down")

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`pileus lab WORDS --name NAME`; what follows `--` stays last. `fault KIND` has the name after the kind."""
        at = words.index("--") if "--" in words else len(words)
        done = subprocess.run(
            [*COMMAND, *words[:at], "--name", self.name, *words[at:]], capture_output=True, text=True, check=False,
            timeout=TIMEOUT_S, env=os.environ | {"PILEUS_LABS": str(self.labs)},
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-6_000:]}{done.stderr[-6_000:]}"
        return done

    def fault(self, kind: str, *words: str) -> None:
        """`pileus lab fault KIND WORDS`."""
        self.command("fault", kind, *words)

    def shell(self, host: str, *words: str, check: bool = True) -> str:
        """What a command on a host prints."""
        return self.command("shell", host, "--", *words, check=check).stdout

    def stock(self, *words: str) -> Any:
        """The stock client's answer, decoded."""
        said = self.shell("admin", "openstack", *words, "-f", "json")
        return json.loads(said) if said.strip() else None

    def do(self, *words: str) -> None:
        """A command of the stock client that answers nothing."""
        self.shell("admin", "openstack", *words)

    def verify(self, host: str) -> int:
        """`pileus verify` on a controller finds nothing; its exit status (0: all was compared)."""
        said = self.command("shell", host, "--", "pileus", "verify", check=False)
        assert said.stdout.startswith("verify: nothing found"), said.stdout + said.stderr
        return said.returncode

    def disk(self, host: str) -> Path:
        """A host's disk."""
        return self.labs / self.name / "hosts" / host

    def pings(self, host: str, address: str, count: int = 3) -> bool:
        """Whether an address answers a host."""
        said = self.command("shell", host, "--", "ping", "-c", str(count), "-W", "3", address, check=False)
        return said.returncode == 0

    # -- what is left ----------------------------------------------------------------------------------------

    def inhabitants(self) -> set[Seen]:
        """All processes in the hosts' namespaces. (Their names tell nothing afterwards: others get them.)"""
        directory = self.labs / self.name
        names = hosts.running(directory)
        firsts = {Host(directory, name).the_pid() for name in names}
        spaces = {kernel_view.namespace(pid, kind) for pid in firsts for kind in ("net", "mnt", "pid")}
        found = {
            kernel_view.see(pid) for pid in kernel_view.pids()
            if spaces & {kernel_view.namespace(pid, kind) for kind in ("net", "mnt", "pid")}
        }
        return {seen for seen in found if seen is not None}

    def processes(self) -> list[str]:
        """Processes of the lab: those that name it, and those in its namespaces as far as those are known by them."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.labs) in words or f"--name {self.name}" in words:
                    found.append(f"{entry.name} {words[:200]}")
        return found

    def mounts(self) -> list[str]:
        """Mounts of this machine that have to do with it."""
        lines = Path("/proc/self/mounts").read_text().splitlines()
        return [line for line in lines if str(self.labs) in line or " nsfs " in line]


def until(probe: Callable[[], Any], what: str, limit_s: float = 240.0) -> Any:
    """Wait until the probe returns something true; that."""
    deadline = monotonic() + limit_s
    while not (found := probe()):
        assert monotonic() < deadline, f"{what}: not within {limit_s:g} s"
        sleep(0.5)
    return found
