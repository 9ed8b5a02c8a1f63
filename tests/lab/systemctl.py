"""`systemctl` for hosts made of namespaces: it runs the very units that are installed, as far as those of the engines
and of the cloud need it. A service tells it that it serves as it tells systemd: by `READY=1`.

    systemctl start|stop|restart|enable|daemon-reload UNIT…
"""

import os
import pwd
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

FOLDERS = ("/etc/systemd/system", "/lib/systemd/system")
RECORDS = Path("/run/by-hand")
SILENT = ("keepalived.service",)
"""Those that say so only to a parent that is systemd."""
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.1


def main(words: list[str]) -> int:
    """0, or 1 when a unit does not do as it is told."""
    verb, *units = [word for word in words if not word.startswith("-")]
    RECORDS.mkdir(exist_ok=True)
    if verb not in ("start", "stop", "restart", "enable", "daemon-reload"):
        raise SystemExit(f"{verb}: not here")
    for unit in units if verb not in ("enable", "daemon-reload") else ():
        name = unit if unit.endswith(".service") else f"{unit}.service"
        if verb != "start":
            stop(name)
        if verb != "stop" and running(name) is None and not start(name):
            return 1
    return 0


def running(name: str) -> int | None:
    """The process of a unit, if it runs."""
    try:
        pid = int((RECORDS / name).read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def stop(name: str) -> None:
    pid = running(name)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while running(name) is not None:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def start(name: str) -> bool:
    """Whether it serves."""
    unit = read(name)
    subprocess.run(["systemd-tmpfiles", "--create", "--prefix=/run"], capture_output=True, check=False)
    environment = {**os.environ, "LANG": "C.UTF-8"}
    for line in unit.get("Environment", []):
        environment |= dict(word.split("=", 1) for word in shlex.split(line))
    user = pwd.getpwnam(unit["User"][-1]) if "User" in unit else None
    if user is not None:
        environment |= {"HOME": user.pw_dir, "USER": user.pw_name}
    for line in unit.get("ExecStartPre", []):
        subprocess.run(command(line, environment), env=environment, check=False, timeout=START_TIMEOUT_S)
    for line in unit.get("EnvironmentFile", []):
        file = Path(line.lstrip("-"))
        text = file.read_text() if file.exists() else ""
        environment |= dict(word.split("=", 1) for word in shlex.split(text, comments=True) if "=" in word)
    argv = command(unit["ExecStart"][-1], environment)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, (RECORDS / f"{name}.log").open("ab") as log:
        heard = str(RECORDS / f"{name}.notify")
        Path(heard).unlink(missing_ok=True)
        ready.bind(heard)
        os.chmod(heard, 0o777)  # as systemd's own
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            env=environment | {"NOTIFY_SOCKET": heard},
            **({} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}),
        )
        (RECORDS / name).write_text(str(process.pid))
        says_so = unit.get("Type", ["simple"])[-1] == "notify" and name not in SILENT
        return serves(process, ready, name) if says_so else process.poll() is None


def serves(process: subprocess.Popen, ready: socket.socket, name: str) -> bool:
    """Wait for its word."""
    deadline = time.monotonic() + START_TIMEOUT_S
    ready.settimeout(POLL_S)
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if b"READY=1" in ready.recv(65_536):
                return True
        except TimeoutError:
            continue
    said = (RECORDS / f"{name}.log").read_text()[-3_000:]
    print(f"{name} does not serve ({process.poll()}):\n{said}", file=sys.stderr)
    return False


def read(name: str) -> dict[str, list[str]]:
    """The lines of a unit, by their names; those of a template with %i replaced."""
    base, at, instance = name.removesuffix(".service").partition("@")
    file = next(path for folder in FOLDERS if (path := Path(folder) / f"{base}{at}.service").exists())
    found: dict[str, list[str]] = {}
    for line in file.read_text().replace("\\\n", " ").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value.replace("%i", instance))
    return found


def command(line: str, environment: dict[str, str]) -> list[str]:
    """Its words; one that is a variable becomes that one's words."""
    words: list[str] = []
    for word in shlex.split(line.lstrip("!+-@:")):
        words += shlex.split(environment.get(word[1:], "")) if word.startswith("$") else [word]
    return words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
