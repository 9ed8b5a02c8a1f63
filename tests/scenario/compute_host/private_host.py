"""A host of one's own on this machine: network and mount namespaces, empty /run, /etc/libvirt and /var/lib/libvirt.

Everything that a test does in there (libvirtd, guests, taps) is invisible outside and cannot meet another test's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.engines.mariadb import SHARED

ROOT = Path(__file__).parents[3]
GUEST_IMAGE = ROOT / "build" / "guest" / "pileus-guest.qcow2"

TIMED_OUT = 124

_FURNISH = (
    "for dir in /run /etc/libvirt /var/lib/libvirt; do mkdir -p $dir && mount -t tmpfs tmpfs $dir || exit 1; done; "
    "ip link set lo up && "
)
_RUN = 'exec "$@"'
_RUN_AND_REAP = '"$@"; exit $?'  # the first process of a process namespace takes in the orphans
_MORTAL = ("--pid", "--fork", "--kill-child=KILL", "--mount-proc")


def run_tests_inside(
    module: Path, directory: Path, *, timeout_s: float, mortal: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a file of tests with pytest in a private host; `directory` is theirs to write in.

    mortal: the host has processes of its own, and all of them end with it, however it ends. Of another host that fails
    the processes are ended here; what one that passes has left is for the caller to see. One that does not end in time
    fails with TIMED_OUT.
    """
    argv = (
        "unshare", "--net", "--mount", "--propagation", "private", *(_MORTAL if mortal else ()),
        "sh", "-c", _FURNISH + (_RUN_AND_REAP if mortal else _RUN), "sh",
        sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "tests.at_once",
        "--durations=0", "--durations-min=0.5",
        "-o", f"faulthandler_timeout={timeout_s * 0.6:.0f}", "--basetemp", str(directory / "inside"), str(module),
    )
    # The servers that this run of tests shares are on a loopback that the host does not see.
    env = {name: value for name, value in os.environ.items() if name != SHARED}
    passed = False
    with (directory / "stdout").open("w+") as out, (directory / "stderr").open("w+") as err:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=err, env=env)
        try:
            code = process.wait(timeout=timeout_s)
            passed = code == 0
        except subprocess.TimeoutExpired:
            code = TIMED_OUT
        finally:
            if not passed:
                for pid in (process.pid, *processes_with(str(directory))):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()
        return subprocess.CompletedProcess(argv, code, *(Path(file.name).read_text() for file in (out, err)))


def processes_with(text: str) -> list[int]:
    """Pids of processes whose command line contains `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append(int(entry.name))
    return found
