"""The first process of a host: furnishes it, says that it is ready, takes in orphans. With it the whole host ends.

Run as a script: `python -I -S init.py KIND LAB_DIR NAME FURNISH`, where FURNISH is JSON (see `Furniture` in hosts.py).
It imports only what is quick to load: every host of every lab holds one of these.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys

UPPER = "/run/pileus-lab"
OVERLAYS = ("/etc", "/var")


def main(arguments: list[str]) -> int:
    """Stay until killed."""
    _kind, _lab, name, furniture = arguments
    wanted = json.loads(furniture)
    if wanted is not None:
        _furnish(wanted)
    _do("hostname", name)
    _do("ip", "link", "set", "lo", "up")
    print("ready", flush=True)
    _leave_the_caller()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        signal.sigwait({signal.SIGCHLD})


def _furnish(wanted: dict) -> None:
    """/etc and /var become copies that only this host changes; /run, /tmp and /dev/shm are empty; what must last, or be
    the same path inside and outside, is bound from the lab's directory."""
    _do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    kept = [(f"{UPPER}/kept{number}", source, target) for number, (source, target) in enumerate(wanted["binds"])]
    for place, source, _target in kept:  # before the overlays hide them
        os.makedirs(place)
        _do("mount", "--bind", source, place)
    for target in OVERLAYS:
        upper, work = f"{UPPER}{target}.upper", f"{UPPER}{target}.work"
        os.makedirs(upper)
        os.makedirs(work)
        _do("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={target},upperdir={upper},workdir={work}", target)
    for target in ("/tmp", "/dev/shm"):  # noqa: S108
        _do("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", target)
    # The host's own devices; and no control groups, or libvirt would leave some behind.
    _do("umount", "--recursive", "--lazy", "/sys")
    _do("mount", "-t", "sysfs", "sysfs", "/sys")
    for place, _source, target in kept:
        os.makedirs(target, exist_ok=True)
        _do("mount", "--move", place, target)
    for path, text in wanted["files"].items():
        if os.path.islink(path):
            os.unlink(path)  # often into /run, which is empty
        with open(path, "w") as file:
            file.write(text)


def _leave_the_caller() -> None:
    """No descriptor of whoever started the host stays open in it."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, 256)


def _do(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
