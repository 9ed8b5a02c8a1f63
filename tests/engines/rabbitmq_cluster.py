"""A real RabbitMQ cluster of three for tests, on loopback addresses."""

from __future__ import annotations

import secrets
from pathlib import Path

from engines.loopback import LoopbackPlace, free_port
from pileus.lab.engines.rabbitmq import Access, Ports, RabbitMQCluster, RabbitMQMember

MEMBERS = 3


def on_loopback(directory: Path) -> RabbitMQCluster:
    """Not started yet."""
    places = [LoopbackPlace(f"c{n}", f"127.0.0.6{n}", directory / f"c{n}") for n in range(1, MEMBERS + 1)]
    everywhere = ("127.0.0.1", *(place.address for place in places))
    access = Access(user="pileus", password=secrets.token_urlsafe(), cookie=secrets.token_urlsafe())
    ports = Ports(amqp=free_port(*everywhere), distribution=free_port(*everywhere), names=free_port(*everywhere))
    return RabbitMQCluster(places, access, ports)


def leaders(cluster: RabbitMQCluster) -> list[RabbitMQMember]:
    """The members that lead a quorum queue now, whoever leads the most first."""
    alive = next(member for member in cluster.members if member.alive())
    said = alive.evaluate(
        "[atom_to_list(element(2, amqqueue:get_pid(Q))) || Q <- rabbit_amqqueue:list(), "
        "is_tuple(amqqueue:get_pid(Q))]"
    )
    leading = [(said.count(member.node), member) for member in cluster.members]
    return [member for count, member in sorted(leading, key=lambda pair: -pair[0]) if count]
