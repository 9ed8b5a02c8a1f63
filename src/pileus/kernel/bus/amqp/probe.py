"""Whether a broker can carry a cloud's messages: asked before a running cloud depends on it."""

from __future__ import annotations

import asyncio
import re

import aio_pika

from pileus.kernel.bus.amqp.link import LOST
from pileus.kernel.bus.amqp.names import Names
from pileus.kernel.config import ConfigError

PROBE_TIMEOUT_S = 10.0
OLDEST = (3, 10)
QUORUM = {"x-queue-type": "quorum", "x-expires": 60_000}


async def probe(url: str, cloud: str) -> None:
    """Connect, make a queue of the kind that topics have, remove it. Raises ConfigError, which shows no password."""
    where = re.sub(r"//[^/@]*@", "//", url)
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            connection = await aio_pika.connect(url, client_properties={"connection_name": f"{cloud}: probe"})
            async with connection:
                _see_version(connection, where)
                channel = await connection.channel()
                queue = await channel.declare_queue(Names(cloud).queue("probe"), durable=True, arguments=QUORUM)
                await queue.delete(if_unused=False, if_empty=False)
    except (*LOST, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"[bus] the broker {where} cannot be used: {str(error) or 'no answer'}") from error


def _see_version(connection: aio_pika.abc.AbstractConnection, where: str) -> None:
    transport = connection.transport
    properties = transport.connection.server_properties if transport is not None else {}
    version = properties.get("version", b"")
    text = version.decode() if isinstance(version, bytes) else str(version)
    numbers = re.match(r"(\d+)\.(\d+)", text)
    if numbers is not None and tuple(map(int, numbers.groups())) < OLDEST:
        raise ConfigError(f"[bus] the broker {where} is {text}; 3.10 or newer is needed")
