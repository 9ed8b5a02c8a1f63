"""A real RabbitMQ for tests: its own node, port, name server and directory, on loopback, ended by its process id.

    with RabbitMQ() as broker:
        bus = AmqpBus(broker.url, …)

`shared()` is the one that all tests of a session use; it starts when the first of them asks. Tests keep apart by the
prefix of their names (a cloud's name), not by virtual hosts.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from engines.loopback import free_port

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # Debian's wrapper would run it as another user, in /var/lib
START_TIMEOUT_S = 240
STOP_TIMEOUT_S = 60
POLL_S = 0.05
CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
log.file.level = warning
log.console = false
"""


class RabbitMQ:
    """One broker, of one member."""

    def __init__(self) -> None:
        self.port = 0
        self._directory = Path()
        self._environment: dict[str, str] = {}
        self._name_server: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """The broker's process."""
        assert self._process is not None
        return self._process.pid

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the directory and start the broker on it; returns when it answers."""
        self._directory = Path(tempfile.mkdtemp(prefix="pileus-rabbitmq-"))
        self.port = free_port()
        (self._directory / "rabbitmq.conf").write_text(CONFIG.format(port=self.port))
        (self._directory / "plugins").write_text("[].\n")
        self._environment = self._variables()
        self._name_server = self._run("epmd")
        self.resume()

    def _variables(self) -> dict[str, str]:
        here = str(self._directory)
        return {
            "PATH": os.environ["PATH"], "HOME": here, "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(free_port()), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test-{self.port}@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": f"{here}/data", "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_PID_FILE": f"{here}/pid", "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/plugins", "RABBITMQ_CONF_ENV_FILE": f"{here}/none",
            # One scheduler that sleeps when idle: two processors are shared by everything under test.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            # Together these make the script become the broker instead of watching it, without a shell on its input.
            "RABBITMQ_ALLOW_INPUT": "true", "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }

    def resume(self) -> None:
        """Start the broker on its directory as it is (after `kill`)."""
        self._process = self._run(SERVER)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, f"rabbitmq-server ended at once:\n{self._output()}"
            assert time.monotonic() < deadline, f"rabbitmq-server did not start in time:\n{self._output()}"
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End the broker as a crash would; what it had on the disk stays."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def stop(self) -> None:
        """End the broker and its name server and remove the directory."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        if self._name_server is not None:
            self._name_server.kill()
            self._name_server.wait(STOP_TIMEOUT_S)
            self._name_server = None
        shutil.rmtree(self._directory, ignore_errors=True)

    def _run(self, program: str) -> subprocess.Popen[bytes]:
        # Nothing outlives a killed test run.
        with (self._directory / "output").open("ab") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "SIGKILL", program], env=self._environment, cwd=self._directory,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )

    def _answers(self) -> bool:
        """Whether it speaks: a client of an unknown protocol version is told the right one."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
                sock.sendall(b"AMQP\x00\x00\x00\x00")
                return sock.recv(8).startswith(b"AMQP")
        except OSError:
            return False

    def _output(self) -> str:
        files = [self._directory / "output", *sorted((self._directory / "log").glob("*.log"))]
        return "\n".join(file.read_text(errors="replace")[-3_000:] for file in files if file.exists())


@functools.cache
def shared() -> RabbitMQ:
    """The broker of this test session: started now if it does not run yet, ended with the session's process."""
    broker = RabbitMQ()
    broker.start()
    owner = os.getpid()
    atexit.register(lambda: broker.stop() if os.getpid() == owner else None)
    return broker
