"""A real RabbitMQ for tests: the lab's, alone on loopback, with ports and a directory of its own.

    with RabbitMQ() as broker:
        bus = AmqpBus(broker.url, …)

`shared()` is the one that all tests of a session use; it starts when the first of them asks. Tests keep apart by the
prefix of their names (a cloud's name), not by virtual hosts.
"""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Self

from engines.loopback import LoopbackPlace, free_port
from pileus.lab.engines.rabbitmq import Access, Ports, RabbitMQMember

START_TIMEOUT_S = 240
ADDRESS = "127.0.0.1"


class RabbitMQ:
    """One broker, of one member."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="pileus-rabbitmq-"))
        place = LoopbackPlace("test", ADDRESS, self._directory)
        ports = Ports(amqp=free_port(), distribution=free_port(), names=free_port())
        self._member = RabbitMQMember(place, [ADDRESS], ports, Access("guest", "guest", secrets.token_urlsafe()))
        self.url = self._member.url

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The broker's process."""
        return self._member.pid

    def start(self) -> None:
        """Start it, also on what it has after `kill`; returns when it answers."""
        self._member.start()
        self._member.wait_ready(START_TIMEOUT_S)

    def kill(self) -> None:
        """End the broker as a crash would; what it had on the disk stays."""
        self._member.kill()

    def stop(self) -> None:
        """End the broker and its name server and remove the directory."""
        self._member.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


@functools.cache
def shared() -> RabbitMQ:
    """The broker of this test session: started now if it does not run yet, ended with the session's process."""
    broker = RabbitMQ()
    broker.start()
    owner = os.getpid()
    atexit.register(lambda: broker.stop() if os.getpid() == owner else None)
    return broker
