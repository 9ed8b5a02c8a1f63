"""A ping that runs while something else happens, and tells exactly which of its packets were lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from tests.scenario.network_plane.plane import Guest, wait_until

INTERVAL_S = 0.03
ANSWER_S = 20.0
REPLY = re.compile(r"icmp_seq=(\d+) ttl=")


class Ping:
    """From one guest to an address, many times a second, until closed."""

    def __init__(self, guest: Guest, address: str) -> None:
        self.what = f"{guest.ip} -> {address}"
        self._answered: set[int] = set()
        self._forgiven = 0
        self._process = subprocess.Popen(
            guest.host.argv(
                "nsenter", f"--net=/run/netns/{guest.name}", "ping", "-n", "-i", str(INTERVAL_S), "-W", "5", address
            ),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := REPLY.search(line):
                self._answered.add(int(found.group(1)))

    def _newest(self) -> int:
        return max(self._answered, default=0)

    def lost(self) -> list[int]:
        """Which packets got no answer since the last `forget`; it must be answering now."""
        seen = self._newest()
        wait_until(f"ping {self.what} goes on", lambda: self._newest() > seen + 3, ANSWER_S)
        answered = set(self._answered)
        newest = max(answered)
        # Order may change by a few packets; what is still missing behind those is lost.
        return sorted(set(range(self._forgiven + 1, newest - 2)) - answered)

    def forget(self) -> None:
        """Begin to count anew, as soon as it is answered."""
        seen = self._newest()
        wait_until(f"ping {self.what} works", lambda: self._newest() > seen + 3, ANSWER_S)
        self._forgiven = self._newest()

    def close(self) -> None:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (*map(int, children), self._process.pid):  # the ping itself, and the nsenter that started it
            os.kill(pid, signal.SIGKILL)
        self._process.wait(10)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
