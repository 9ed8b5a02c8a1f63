"""libvirtd, started by us where nothing else starts it.

On a machine with systemd the system's own daemon is asked for and used with the system's settings. Elsewhere
we start one of our own. It has a private /etc/libvirt, mounted over the system's one in a mount namespace
that only the daemon lives in: nothing in the system's /etc is changed, and no network or domain configured
there is started. The daemon and its guests outlive this process.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import uuid
from pathlib import Path
from typing import Final

from pileus.kernel.host import durable
from pileus.kernel.host.command import CommandError, run
from pileus.services.compute.drivers.hypervisor.interface import HypervisorError

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.1
_SYSTEMD: Final = Path("/run/systemd/system")
_SYSTEM_ETC: Final = Path("/etc/libvirt")

# Guests run as root because their files lie below a directory that only root may enter; a console log is a
# plain file because there is no virtlogd here.
_QEMU_CONF: Final = """\
user = "root"
group = "root"
security_driver = "none"
stdio_handler = "file"
"""
# Calls about guests whose monitors hang stay under way for long. When all workers are busy libvirtd can fail to start
# another (it subtracts unsigned numbers), so there are many from the start.
MIN_WORKERS: Final = 32
MAX_WORKERS: Final = 120
_LIBVIRTD_CONF: Final = """\
listen_tls = 0
listen_tcp = 0
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
host_uuid = "{host_uuid}"
min_workers = {min_workers}
max_workers = {max_workers}
log_outputs = "3:file:{log_file}"
"""
# The mount must happen inside the new namespace, hence a constant three-step script; its arguments are only
# ever expanded quoted.
_MOUNT_AND_RUN: Final = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


class LibvirtDaemon:
    """The daemon behind qemu:///system, as far as we are concerned with it. `directory` holds our copy of its
    settings."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._etc = directory / "etc"
        self._pid_file = directory / "libvirtd.pid"

    @property
    def pid(self) -> int | None:
        """Process id of a running daemon that we (or an earlier process of this cloud) started, else None."""
        try:
            pid = int(self._pid_file.read_text())
            # "1234 (libvirtd) S ...": the state Z is a dead process that nobody has waited for yet
            _, name, state = Path(f"/proc/{pid}/stat").read_text().split(maxsplit=3)[:3]
            return pid if name == "(libvirtd)" and state != "Z" else None
        except (OSError, ValueError):
            return None

    async def start(self) -> None:
        """Have a daemon running. Call only when none answers. Raises HypervisorError."""
        if shutil.which("libvirtd") is None and not _SYSTEMD.exists():
            raise HypervisorError("libvirtd is not installed")
        try:
            if _SYSTEMD.exists():
                await run(("systemctl", "start", "libvirtd"), timeout_s=START_TIMEOUT_S)
            else:
                await self._start_ours()
        except CommandError as error:
            raise HypervisorError(f"libvirtd does not start: {error}") from error

    async def _start_ours(self) -> None:
        await asyncio.to_thread(self._write_settings)
        daemon = (
            "libvirtd", "--daemon", "--config", str(self._etc / "libvirtd.conf"), "--pid-file", str(self._pid_file),
        )
        own_namespace = ("unshare", "--mount", "--propagation", "slave", "sh", "-c", _MOUNT_AND_RUN, "sh")
        await run((*own_namespace, str(self._etc), str(_SYSTEM_ETC), *daemon), timeout_s=START_TIMEOUT_S)

    def _write_settings(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _SYSTEM_ETC.mkdir(parents=True, exist_ok=True)
        self._etc.mkdir(exist_ok=True)
        settings = _LIBVIRTD_CONF.format(
            host_uuid=_kept_uuid(self._directory / "host_uuid"), log_file=self._directory / "libvirtd.log",
            min_workers=MIN_WORKERS, max_workers=MAX_WORKERS,
        )
        (self._etc / "libvirtd.conf").write_text(settings)
        (self._etc / "qemu.conf").write_text(_QEMU_CONF)

    async def stop(self) -> bool:
        """End our daemon; guests run on without it. Whether there was one."""
        pid = self.pid
        if pid is None:
            return False
        for number, limit_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return True
            try:
                async with asyncio.timeout(limit_s):
                    while self.pid == pid:
                        await asyncio.sleep(_POLL_S)
                return True
            except TimeoutError:
                continue
        raise HypervisorError(f"libvirtd (pid {pid}) does not end")


def _kept_uuid(file: Path) -> str:
    """The uuid in the file; made when there is none that could be used."""
    try:
        return str(uuid.UUID(file.read_text().strip()))
    except (FileNotFoundError, ValueError):
        made = str(uuid.uuid4())
        durable.write(file, made.encode())
        return made
