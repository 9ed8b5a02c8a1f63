"""A real memcached for tests: on a free port of loopback, ended by its process id.

    with Memcached() as server:
        cloud = Cloud(…, tables={"cache": {"servers": [server.address]}})
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from typing import Self

from engines.loopback import free_port

START_TIMEOUT_S = 30
POLL_S = 0.01


class Memcached:
    """One server. `options`: more of memcached's."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """As the configuration has it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty, on its port."""
        user = pwd.getpwuid(os.getuid()).pw_name
        command = ["setpriv", "--pdeathsig", "SIGKILL", "memcached", "-u", user, "-l", "127.0.0.1", "-U", "0"]
        self._process = subprocess.Popen([*command, "-p", str(self.port), *self.options], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, "memcached ended at once"
            assert time.monotonic() < deadline, "memcached did not start in time"
            time.sleep(POLL_S)

    def kill(self) -> None:
        """As a crash would; all it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_TIMEOUT_S)
            self._process = None

    def hang(self) -> None:
        """It takes connections and requests, and answers none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `hang`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, request: bytes, end: bytes) -> bytes:
        """One request as it is; the answer up to its end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
            sock.sendall(request)
            answer = b""
            while not answer.endswith(end):
                part = sock.recv(65_536)
                assert part, answer
                answer += part
            return answer

    def get(self, key: bytes) -> bytes | None:
        """What lies there."""
        answer = self.ask(b"get %b\r\n" % key, b"END\r\n")
        return None if answer == b"END\r\n" else answer.partition(b"\r\n")[2].removesuffix(b"\r\nEND\r\n")

    def put(self, key: bytes, value: bytes) -> None:
        """As anybody could who reaches the port."""
        assert self.ask(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value), b"\r\n") == b"STORED\r\n"

    def names(self) -> list[bytes]:
        """All keys that are there now."""
        lines = self.ask(b"lru_crawler metadump all\r\n", b"END\r\n").splitlines()
        return [line.split()[0].removeprefix(b"key=") for line in lines if line.startswith(b"key=")]

    def _answers(self) -> bool:
        try:
            return self.ask(b"version\r\n", b"\r\n").startswith(b"VERSION")
        except OSError:
            return False
