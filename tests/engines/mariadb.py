"""A real MariaDB server for tests: its own data directory, port and socket, ended by its process id.

    with MariaDB() as server:
        url = server.url("compute")     # an empty schema, made as an operator would make it

`shared()` is the one that all tests of a session use; it starts when the first of them asks.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pymysql

from engines.loopback import free_port

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
POLL_S = 0.02
PREFIX = "pileus-mariadb-"
ABANDONED_AFTER_S = 3_600
SHARED = "PILEUS_TEST_MARIADB"
OTHER_MEMBER = "PILEUS_TEST_MARIADB_OTHER"
"""Where a test that has two processes lets the second one find the same data: another member of a cluster."""
SCHEMA = re.compile(r"[a-z0-9_]{1,64}")

# Small, and quick to make: the log's size is the greater part of an empty data directory.
INNODB = ("--innodb-log-file-size=16M", "--innodb-data-file-path=ibdata1:4M:autoextend", "--innodb-page-size=16k")
SMALL = (
    "--innodb-buffer-pool-size=64M", "--innodb-log-buffer-size=2M", "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=8M", "--performance-schema=OFF", "--table-open-cache=2000", "--max-connections=300",
    "--skip-log-bin", "--innodb-fast-shutdown=2", "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--innodb-buffer-pool-load-at-startup=OFF",
)


class MariaDB:
    """One server, as in operation (a commit waits for the disk), but small. `options`: more of mariadbd's options."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.port = 0
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the data directory and start the server on it; returns when it answers."""
        _remove_abandoned()
        self._directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.port = free_port()
        made = subprocess.run(
            [
                "mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={self._data}",
                # Its names for temporary tables come from its process id, which another process namespace has too.
                f"--tmpdir={self._directory}", "--skip-test-db",
                "--skip-name-resolve", "--auth-root-authentication-method=normal", *INNODB,
            ],
            capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False,
        )
        try:
            assert made.returncode == 0, made.stdout + made.stderr
            self.resume()
        except BaseException:
            self.stop()
            raise

    def resume(self) -> None:
        """Start the server on the data directory as it is (after `kill`)."""
        command = [
            "setpriv", "--pdeathsig", "SIGKILL",  # it does not outlive a killed test run
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={self._data}", f"--tmpdir={self._directory}",
            f"--socket={self._socket}", f"--pid-file={self._directory}/pid", f"--log-error={self._log}",
            "--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve", *INNODB, *SMALL,
            *self.options,
        ]
        silent = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, f"mariadbd ended at once:\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"mariadbd did not start in time:\n{self._log.read_text()}"
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End the server as a crash would; its data directory stays."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def stop(self) -> None:
        """End the server and remove its data directory."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        if self._directory != Path():
            shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    # -- schemas ---------------------------------------------------------------------------------------------

    def url(self, name: str, *, keep: bool = False, by_socket: bool = False) -> str:
        """Make an empty schema of this name and return its URL. One that was there goes, unless it is to be kept.

        by_socket: the URL of the server's Unix socket, which a process in another network namespace reaches as well.
        """
        assert SCHEMA.fullmatch(name), name
        if not keep:
            self.drop(name)
        self.execute(f"CREATE DATABASE IF NOT EXISTS `{name}`")
        if by_socket:
            return f"mysql+pymysql://root@localhost/{name}?unix_socket={self._socket}"
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{name}"

    def drop(self, name: str) -> None:
        """Remove a schema."""
        assert SCHEMA.fullmatch(name), name
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def execute(self, statement: str) -> list[tuple]:
        """Run one statement as root and return its rows."""
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def _connect(self) -> pymysql.Connection:
        return pymysql.connect(unix_socket=str(self._socket), user="root", connect_timeout=10, autocommit=True)

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except pymysql.OperationalError:
            return False
        return True

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    @property
    def _socket(self) -> Path:
        return self._directory / "socket"

    @property
    def _log(self) -> Path:
        return self._directory / "error.log"


@functools.cache
def shared() -> MariaDB:
    """The server of this test session: started now if it does not run yet, ended with the session's process.

    Processes that a test starts find the same one by the environment.
    """
    server = MariaDB()
    if SHARED in os.environ:
        port, directory = os.environ[SHARED].split(":", 1)
        server.port, server._directory = int(port), Path(directory)
        return server
    server.start()
    os.environ[SHARED] = f"{server.port}:{server._directory}"
    owner = os.getpid()
    atexit.register(lambda: server.stop() if os.getpid() == owner else None)
    return server


def _remove_abandoned() -> None:
    """Remove the directories of test runs that were killed: those servers died with them."""
    for directory in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with contextlib.suppress(OSError, ValueError):
            if time.time() - directory.stat().st_mtime < ABANDONED_AFTER_S:
                continue
            if not Path("/proc", (directory / "pid").read_text().strip()).exists():
                shutil.rmtree(directory, ignore_errors=True)
