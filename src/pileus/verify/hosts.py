"""Other hosts of the cloud: any of its processes that runs on a host looks at it when it is asked over the bus.

So a command on a controller sees every host, and no host but a controller needs a database. What is seen travels
encoded, so that who answers loads the code that looks only when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from pileus.kernel.bus import Bus, Message, NoListener
from pileus.kernel.errors import ServiceError

if TYPE_CHECKING:
    from pileus.kernel.process import Node
    from pileus.verify.evidence.host import HostRecords

ROLE = "verify"
TIMEOUT_S = 30.0


class HostSeen(msgspec.Struct, frozen=True):
    """records: `HostRecords` in MessagePack."""

    records: bytes


class LookAtHost(Message, frozen=True, kw_only=True):
    """Look at the host that you run on."""

    reply: ClassVar[type] = HostSeen
    traced: ClassVar[bool] = False


def answer(node: Node) -> None:
    """Look at this node's host whenever somebody asks."""

    async def look(_: LookAtHost) -> HostSeen:
        from pileus.verify.evidence import host
        from pileus.verify.installation import Installation

        return HostSeen(msgspec.msgpack.encode(await host.look(Installation(node.config, node.tables))))

    node.bus.listen(_topic(node.config.host), {LookAtHost: look})


async def ask(bus: Bus, host: str) -> HostRecords:
    """What is on a host. Raises CouldNotLook."""
    from pileus.verify.evidence.host import HostRecords
    from pileus.verify.installation import CouldNotLook

    try:
        seen = await bus.call(_topic(host), LookAtHost(), timeout_s=TIMEOUT_S)
    except TimeoutError:
        raise CouldNotLook(f"it does not answer within {TIMEOUT_S:.0f} s") from None
    except NoListener:
        raise CouldNotLook("no process of the cloud answers there") from None
    except ServiceError as error:
        raise CouldNotLook(error.text) from error
    return msgspec.msgpack.decode(seen.records, type=HostRecords)


def _topic(host: str) -> str:
    return f"{ROLE}@{host}"
