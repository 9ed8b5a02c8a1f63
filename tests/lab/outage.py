"""How long an API is away: a client on the lab's admin host that asks ten times a second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Self

from pileus.lab import hosts
from pileus.lab.lab import ADMIN
from tests.lab.rehearsal import Rehearsal

OK = "ok"
# Prints a line for each answer or failure: when, and what it was.
_SCRIPT = """
import signal, sys, time, urllib.request
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
while True:
    try:
        asked = urllib.request.Request(sys.argv[1], headers={"X-Auth-Token": sys.argv[2]})
        with urllib.request.urlopen(asked, timeout=3) as answer:
            answer.read()
        what = "ok"
    except Exception as error:
        what = str(error)
    print(f"{time.monotonic():.3f} {what}", flush=True)
    time.sleep(0.1)
"""


class Outage:
    """A context manager. Afterwards `longest_s` (between two good answers) and `failures` (how many, by kind)."""

    def __init__(self, lab: Rehearsal, url: str, token: str = "") -> None:
        host = hosts.Host(lab.labs / lab.name, ADMIN)
        self._argv = host.enter([sys.executable, "-u", "-c", _SCRIPT, url, token])
        self.longest_s = 0.0
        self.failures: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().endswith(f" {OK}\n")
        return self

    def __exit__(self, *_exc: object) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)  # nsenter runs it as a child
        said, _ = self._process.communicate(timeout=20)
        last = None
        for line in said.splitlines():
            at, what = line.split(" ", 1)
            if what != OK:
                self.failures[what] = self.failures.get(what, 0) + 1
                continue
            self.longest_s = max(self.longest_s, float(at) - last if last is not None else 0.0)
            last = float(at)

    def __str__(self) -> str:
        return f"longest {self.longest_s:.1f} s, failures {self.failures}"
