"""Places for engines that run directly on this machine: an address of the loopback network and a directory each.

    with loopback_places(3) as places:
        cluster = GaleraCluster(places)

Whatever was started in them ends with the `with`, or with the process of the test run; in a `LoopbackPlace` that a test
makes itself, with the latter only.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

KILL_TIMEOUT_S = 60

# A child is told to die with the *thread* that made it, so one thread that lives as long as the tests makes them all.
_starter = ThreadPoolExecutor(1, thread_name_prefix="starter")


class LoopbackProcess:
    """See `pileus.lab.place.Started`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(KILL_TIMEOUT_S)

    def stop(self, timeout_s: float) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass
class LoopbackPlace:
    """See `pileus.lab.place.Place`. enter: before every command line, to have it run in a namespace."""

    name: str
    address: str
    directory: Path
    enter: Sequence[str] = ()
    started: list[LoopbackProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(
        self, argv: Sequence[str], *, log: Path, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> LoopbackProcess:
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [*self.enter, "setpriv", "--pdeathsig", "SIGKILL", *_as(user), *argv]
        with log.open("ab") as out:
            process = _starter.submit(
                subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=os.environ | (env or {}), cwd=self.directory,
            ).result()
        self.started.append(LoopbackProcess(process))
        return self.started[-1]

    def run(
        self, argv: Sequence[str], *, timeout_s: float, input: str | None = None, user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        prefix = ["setpriv", *_as(user)] if user else []
        try:
            ended = subprocess.run(
                [*self.enter, *prefix, *argv], input=input or "", capture_output=True, text=True, timeout=timeout_s,
                check=False, env=os.environ | (env or {}), cwd=self.directory,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{argv[0]} is not done after {timeout_s} s") from error
        if ended.returncode:
            raise RuntimeError(f"{argv[0]} ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-2000:]}")
        return ended.stdout


@contextlib.contextmanager
def loopback_places(count: int, prefix: str = "pileus-place-") -> Iterator[list[LoopbackPlace]]:
    """As many hosts; their addresses are in a network of their own, so every engine can use its usual ports."""
    base = Path(tempfile.mkdtemp(prefix=prefix))
    base.chmod(0o711)  # an engine may run as a user of its own
    network = _unused_network()
    places = [LoopbackPlace(f"m{n}", f"{network}.{n}", base / f"m{n}") for n in range(1, count + 1)]
    try:
        yield places
    finally:
        for process in (process for place in places for process in place.started):
            process.kill()
        shutil.rmtree(base, ignore_errors=True)


def free_port(*addresses: str) -> int:
    """A port that nobody uses now at any of these addresses; none: at 127.0.0.1."""
    first, *others = addresses or ("127.0.0.1",)
    while True:
        with socket.socket() as taken:
            taken.bind((first, 0))
            port = taken.getsockname()[1]
            try:
                for address in others:
                    with socket.socket() as other:
                        other.bind((address, port))
            except OSError:
                continue
            return port


def _as(user: str | None) -> list[str]:
    return ["--reuid", user, "--regid", user, "--init-groups"] if user else []


def _unused_network() -> str:
    while True:
        network = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}"
        with socket.socket() as probe:
            if probe.connect_ex((f"{network}.1", 3306)):
                return network
