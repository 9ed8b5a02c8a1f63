"""One MariaDB server in a place: made, started, asked, killed, started again on what it had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pileus.lab.engines.member import Member
from pileus.lab.place import Place

PORT = 3306
USER = "mysql"
"""Not root: the rsync that carries data to a Galera member gives root up, and could then not write them."""
INSTALL_TIMEOUT_S = 300.0
STATEMENT_TIMEOUT_S = 60.0

# Small, and quick to make; commits wait for the disk, as in operation.
SETTINGS = {
    "skip-name-resolve": "ON", "innodb-flush-log-at-trx-commit": "1",
    "innodb-log-file-size": "16M", "innodb-data-file-path": "ibdata1:4M:autoextend", "innodb-buffer-pool-size": "64M",
    "innodb-log-buffer-size": "2M", "innodb-fast-shutdown": "2", "innodb-buffer-pool-dump-at-shutdown": "OFF",
    "innodb-buffer-pool-load-at-startup": "OFF", "key-buffer-size": "1M", "aria-pagecache-buffer-size": "8M",
    "performance-schema": "OFF", "table-open-cache": "2000", "max-connections": "500", "max-connect-errors": "1000000",
}  # fmt: skip


class MariaDB(Member):
    """A server that listens on its place's address. Its root logs in by the Unix socket, as the system's root only.

    settings: more of the server's options, by their names in its file.
    """

    poll_s = 0.1
    stop_timeout_s = 60.0

    def __init__(self, place: Place, *, port: int = PORT, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(place)
        self.port = port
        self.settings = SETTINGS | dict(settings or {})
        self.data = place.directory / "data"
        self.file = place.directory / "my.cnf"

    @property
    def log(self) -> Path:
        return self.place.directory / "mariadb.log"

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server on its data, which are made when there are none. Does not wait until it answers."""
        self._launch()

    def answers(self) -> bool:
        """Whether it carries statements out now."""
        try:
            self.execute("SELECT 1 FROM information_schema.schemata LIMIT 1")
        except RuntimeError:
            return False
        return True

    # -- use -------------------------------------------------------------------------------------------------

    def execute(self, statements: str, *, timeout_s: float = STATEMENT_TIMEOUT_S) -> list[list[str]]:
        """Run statements as root; rows as text. RuntimeError with what the server said."""
        command = ["mariadb", f"--defaults-file={self.file}", "--batch", "--skip-column-names", "--connect-timeout=5"]
        written = self.place.run(command, timeout_s=timeout_s, input=statements)
        return [line.split("\t") for line in written.splitlines()]

    def create_schema(self, schema: str, user: str, password: str) -> None:
        """An empty schema with a user who may do all in it, from any host. Those that are there stay."""
        for value in (schema, user, password):
            if not value or set(value) & set("`'\\\n"):
                raise ValueError("a name or a password with quotes")
        self.execute(
            f"CREATE DATABASE IF NOT EXISTS `{schema}`;"
            f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';"
            f"GRANT ALL ON `{schema}`.* TO '{user}'@'%'"
        )

    # -- inside ----------------------------------------------------------------------------------------------

    def _launch(self, *options: str) -> None:
        if self.alive():
            return
        self._prepare()
        if not (self.data / "mysql").exists():
            self._install()
        command = ["mariadbd", f"--defaults-file={self.file}", *options]
        self._process = self.place.start(command, log=self.log, user=USER)

    def _prepare(self) -> None:
        here = self.place.directory
        here.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_file()
        self.place.run(["chown", f"{USER}:", str(here), str(self.file)], timeout_s=STATEMENT_TIMEOUT_S)
        try:
            self.place.run(["test", "-r", str(self.file)], timeout_s=STATEMENT_TIMEOUT_S, user=USER)
        except RuntimeError as error:
            raise RuntimeError(f"the user {USER} cannot get to {here}: a directory above it is closed") from error

    def _write_file(self) -> None:
        here = self.place.directory
        settings = {
            "datadir": self.data, "tmpdir": here, "pid-file": here / "mariadb.pid",
            "bind-address": self.place.address, "port": self.port,
        } | self.settings  # fmt: skip
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        socket = f"socket = {here / 'mariadb.sock'}\n"
        self.file.write_text(f"[client]\n{socket}[mariadbd]\n{socket}{lines}")
        self.file.chmod(0o600)

    def _install(self) -> None:
        """Make the data directory under another name first: half of one must not be taken for a whole."""
        part = self.data.with_name("data.part")
        command = [
            "mariadb-install-db", "--no-defaults", f"--datadir={part}", f"--tmpdir={self.place.directory}",
            "--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=socket",
            "--auth-root-socket-user=root", f"--innodb-log-file-size={self.settings['innodb-log-file-size']}",
            f"--innodb-data-file-path={self.settings['innodb-data-file-path']}",
        ]  # fmt: skip
        self.place.run(["rm", "-rf", str(part)], timeout_s=INSTALL_TIMEOUT_S)
        self.place.run(command, timeout_s=INSTALL_TIMEOUT_S, user=USER)
        part.rename(self.data)
