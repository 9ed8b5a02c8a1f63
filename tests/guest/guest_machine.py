"""One guest under plain QEMU emulation, with its console, QMP and ssh."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guest_network import COMMAND_TIMEOUT_S, command, stop

# Emulated guests share two cores with whatever else runs; these bound a hang, not a speed.
BOOT_TIMEOUT_S = 150
QMP_TIMEOUT_S = 30
SSH_TIMEOUT_S = 60
POLL_S = 0.1
TEXT_MEMORY = (0xB8000, 0x8000)  # address and size in bytes of VGA text memory


def wait_for(condition: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = BOOT_TIMEOUT_S) -> Any:
    """Returns the first true result of `condition`; fails when `timeout_s` passes without one."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what() if callable(what) else what}"
        time.sleep(POLL_S)
    return result


@dataclass
class Machine:
    """A QEMU process. `console` collects all serial output since the start."""

    folder: Path
    namespace: str
    arguments: tuple[str, ...]
    memory_mib: int = 128
    console: bytearray = field(default_factory=bytearray, init=False)

    def __enter__(self) -> Machine:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.qmp_path = self.folder / "qmp"
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "qemu-system-x86_64", *self._devices(), *self.arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(self.folder / "qemu.log").open("wb"),
        )  # fmt: skip
        # The console has to be read all the time, otherwise a full pipe stops the guest.
        threading.Thread(target=self._collect, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)

    def _devices(self) -> tuple[str, ...]:
        return (
            "-accel", "tcg,tb-size=64", "-m", str(self.memory_mib), "-nodefaults", "-vga", "std", "-display", "none",
            "-serial", "stdio", "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
        )  # fmt: skip

    def _collect(self) -> None:
        assert self.process.stdout is not None
        while chunk := os.read(self.process.stdout.fileno(), 4096):
            self.console += chunk

    def text(self) -> str:
        return self.console.decode(errors="replace")

    def wait_console(self, pattern: str, after: int = 0, timeout_s: float = BOOT_TIMEOUT_S) -> re.Match[str]:
        """Waits for `pattern` in the console output that comes later than its first `after` bytes."""

        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, f"QEMU ended: {(self.folder / 'qemu.log').read_text()}"
            return re.search(pattern, self.console[after:].decode(errors="replace"))

        return wait_for(found, lambda: f"{pattern!r} on the console:\n{self.text()[-3000:]}", timeout_s)

    def type(self, line: str) -> None:
        """Types a line on the serial console."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def qmp(self, execute: str, **arguments: object) -> Any:
        """Runs one QMP command on a connection of its own."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(QMP_TIMEOUT_S)
            connection.connect(str(self.qmp_path))
            with connection.makefile("rw") as stream:
                stream.readline()
                for request in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments}):
                    stream.write(json.dumps(request) + "\n")
                    stream.flush()
                    while "event" in (answer := json.loads(stream.readline())):
                        pass
                    assert "return" in answer, answer
                return answer["return"]

    def screen(self) -> str:
        """The text on a VGA monitor and what has scrolled off it: the card shows a moving window of its memory."""
        path = self.folder / "screen"
        self.qmp("pmemsave", val=TEXT_MEMORY[0], size=TEXT_MEMORY[1], filename=str(path))
        return path.read_bytes()[::2].decode("cp437")


@dataclass(frozen=True)
class Login:
    """ssh as root with one key, from a namespace."""

    namespace: str
    address: str
    key: Path

    @staticmethod
    def new_key(path: Path) -> str:
        """Makes a key pair; returns the public line."""
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "guest-test", "-f", path)
        return Path(f"{path}.pub").read_text().strip()

    def arguments(self, *options: str) -> tuple[str, ...]:
        return (
            "ip", "netns", "exec", self.namespace, "ssh", "-i", str(self.key), "-o", "IdentitiesOnly=yes",
            "-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={COMMAND_TIMEOUT_S}", *options, f"root@{self.address}",
        )  # fmt: skip

    def run(self, script: str) -> str:
        """Runs a shell line in the guest, which must succeed."""
        return command(*self.arguments("-o", "BatchMode=yes"), script, timeout_s=SSH_TIMEOUT_S).strip()

    def refused(self, *options: str) -> str:
        """Tries to log in, which must fail; returns ssh's message."""
        done = subprocess.run(
            [*self.arguments(*options, "-o", "BatchMode=yes"), "true"],
            capture_output=True, text=True, timeout=SSH_TIMEOUT_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 255, done
        return done.stderr
