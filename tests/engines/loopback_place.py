"""A place for engines that is this machine: an address on the loopback interface, a directory, no namespace."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

END_TIMEOUT_S = 30
_STARTER = ThreadPoolExecutor(1)  # the thread that starts a process must live as long: `pdeathsig` means the thread


class Process:
    """See `Started`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)

    def stop(self, timeout_s: float) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()


class LoopbackPlace:
    """See `Place`. number: the last part of its address."""

    def __init__(self, name: str, number: int, directory: Path, enter: Sequence[str] = (), address: str = "") -> None:
        self.name = name
        self.address = address or f"127.0.0.{number}"
        self.directory = directory
        self._enter = list(enter)
        directory.mkdir(parents=True, exist_ok=True)

    def start(
        self, argv: Sequence[str], *, log: Path, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> Process:
        log.parent.mkdir(parents=True, exist_ok=True)
        as_user = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
        with log.open("ab") as output:  # nothing outlives a killed test run
            process = _STARTER.submit(
                subprocess.Popen, [*self._enter, "setpriv", "--pdeathsig", "SIGKILL", *as_user, *argv],
                cwd=self.directory, env=os.environ | (env or {}), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output,
            )  # fmt: skip
            return Process(process.result())

    def run(
        self, argv: Sequence[str], *, timeout_s: float, input: str | None = None, user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        as_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
        try:
            done = subprocess.run(
                [*self._enter, *as_user, *argv], env=os.environ | (env or {}), input=input, timeout=timeout_s,
                text=True, capture_output=True, check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{argv[0]} was not done in time") from error
        if done.returncode:
            raise RuntimeError(f"{argv[0]}: {(done.stdout + done.stderr)[-500:]}")
        return done.stdout


def free_port(*addresses: str) -> int:
    """One that nobody has at any of these addresses."""
    while True:
        with socket.socket() as first:
            first.bind((addresses[0], 0))
            port = first.getsockname()[1]
            try:
                for address in addresses[1:]:
                    with socket.socket() as other:
                        other.bind((address, port))
            except OSError:
                continue
            return port
