"""Start, check, reload and stop a dnsmasq that serves one namespace.

It runs detached, so it outlives us; it is found again by its pid file, and believed only if the process behind it has
exactly our command line and lives in the right namespace. Where the pid file is lost, the command line still names it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from .namespaces import call_inside, namespace_inode, run_inside

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.01
ANSWER_TIMEOUT_S = 5.0  # it answers from memory: only a machine under heavy load takes longer than milliseconds
ASK_EVERY_S = 1.0
PID_FILE_OPTION = "--pid-file="
DNS_PORT = 53


def find_running(pid_file: Path) -> int | None:
    """The pid of the dnsmasq that uses this pid file, if it is alive."""
    try:
        pid = int(pid_file.read_text().strip())
    except (FileNotFoundError, ValueError):
        return None
    return pid if f"{PID_FILE_OPTION}{pid_file}" in _command_line(pid) else None


def find_all(directory: Path) -> dict[Path, list[int]]:
    """Pid file -> dnsmasqs that name it, for all pid files below a directory; without those that a dnsmasq forked."""
    found: dict[Path, dict[int, int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        words = _command_line(int(entry))
        named = next((word for word in words if word.startswith(f"{PID_FILE_OPTION}{directory}/")), None)
        if named is not None and os.path.basename(words[0]) == "dnsmasq":
            pid_file = Path(named.removeprefix(PID_FILE_OPTION))
            found.setdefault(pid_file, {})[int(entry)] = _parent(int(entry))
    return {
        pid_file: sorted(pid for pid, parent in parents.items() if parent not in parents)
        for pid_file, parents in found.items()
    }


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def is_right(pid: int, argv: Sequence[str], namespace: str) -> bool:
    """True if the process has this command line and lives in this namespace as it is now."""
    try:
        inode = os.stat(f"/proc/{pid}/ns/net").st_ino
    except (FileNotFoundError, ProcessLookupError):
        return False
    return _command_line(pid)[1:] == list(argv)[1:] and inode == namespace_inode(namespace)


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


async def start(argv: Sequence[str], namespace: str) -> None:
    """Start it; returns when it has its sockets. Raises CommandError with its own words."""
    await run_inside(namespace, argv, timeout_s=START_TIMEOUT_S)


def reload(pid: int) -> None:
    """Make it read its host and option files again; already gone is fine (the next pass starts it)."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)


async def answers(namespace: str, address: str) -> bool:
    """True if it answers a question about itself within `ANSWER_TIMEOUT_S`. Raises OSError without namespace."""
    question = _version_question()

    def ask() -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(ASK_EVERY_S)
            with contextlib.suppress(OSError):  # no such address (yet): it cannot answer there
                sock.connect((address, DNS_PORT))
                while time.monotonic() < deadline:
                    with contextlib.suppress(TimeoutError):
                        sock.send(question)
                        return sock.recv(512)[:2] == question[:2]
        return False

    return await call_inside(namespace, ask)


def _version_question() -> bytes:
    """"version.bind" of class CHAOS, which dnsmasq answers itself (RFC 1035 for the format)."""
    head = struct.pack("!HHHHHH", secrets.randbelow(1 << 16), 0x0100, 1, 0, 0, 0)
    return head + b"\x07version\x04bind\x00" + struct.pack("!HH", 16, 3)


async def stop(pid_file: Path) -> None:
    """End the one that this pid file names, by force if it lingers; already gone is fine."""
    pid = find_running(pid_file)
    if pid is not None:
        await end(pid)


async def end(pid: int, *, is_hung: bool = False) -> None:
    """End a dnsmasq; one that hangs by force at once. Already gone is fine."""
    words = _command_line(pid)
    for number in (signal.SIGKILL,) if is_hung else (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if await _wait_gone(pid, words):
            return


async def _wait_gone(pid: int, words: list[str]) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            while words and _command_line(pid) == words:
                await asyncio.sleep(POLL_S)
            return True
    return False
