"""What an operator asks of a broker: whether it answers, what waits there, and what nobody survived."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import aio_pika
import msgspec
from aio_pika.abc import AbstractConnection

from pileus.kernel.bus.amqp.link import LOST
from pileus.kernel.bus.amqp.names import Names


class TopicState(msgspec.Struct, frozen=True):
    """A topic's queue: messages that wait, and processes that serve it."""

    waiting: int
    listeners: int


class BrokerState(msgspec.Struct, frozen=True):
    """topics: those of the topics asked for that have a queue. dead: messages that five listeners did not survive."""

    topics: dict[str, TopicState]
    dead: int


class NoAnswer(Exception):
    """The broker cannot be asked; the text says why, without its URL."""


async def inspect(url: str, cloud: str, topics: Iterable[str], *, timeout_s: float) -> BrokerState:
    """Ask once, changing nothing there. Raises `NoAnswer` within the time."""
    names = Names(cloud)
    connection = None
    try:
        async with asyncio.timeout(timeout_s):
            connection = await aio_pika.connect(url, client_properties={"connection_name": "pileus status"})
            found = {topic: await _state(connection, names.queue(topic)) for topic in topics}
            dead = await _state(connection, names.dead)
    except TimeoutError:
        raise NoAnswer(f"no answer within {timeout_s:g} s") from None
    except LOST as error:
        raise NoAnswer(" ".join(str(error).split()) or type(error).__name__) from error
    finally:
        if connection is not None:
            with contextlib.suppress(*LOST):
                async with asyncio.timeout(timeout_s):
                    await connection.close()
    there = {topic: state for topic, state in found.items() if state is not None}
    return BrokerState(there, dead.waiting if dead is not None else 0)


async def _state(connection: AbstractConnection, queue: str) -> TopicState | None:
    """None when there is no such queue. Each look has a channel of its own: asking in vain closes it."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        declared = (await channel.get_queue(queue, ensure=True)).declaration_result
        return TopicState(declared.message_count or 0, declared.consumer_count or 0)
    except aio_pika.exceptions.ChannelNotFoundEntity:
        return None
    finally:
        with contextlib.suppress(*LOST):
            await channel.close()
