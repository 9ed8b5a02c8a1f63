"""Names and bounds on the broker. Everything begins with the cloud's name, so that clouds can share a broker."""

from __future__ import annotations

from typing import Any, Final

import msgspec

ABSENT_S: Final = 15.0
"""How long nobody may serve a topic before calls to it fail and its queue goes: a restart of a role takes less."""

MAX_WAITING_PER_TOPIC: Final = 10_000
MAX_WAITING_BYTES_PER_TOPIC: Final = 512 * 2**20
MAX_DELIVERIES: Final = 5  # a message that so often was with a listener that died is not given to another
MAX_DEAD: Final = 1_000
CAST_KEPT_S: Final = 60.0  # a wake-up older than this wakes nobody who has not looked by himself
EVENTS_KEPT_S: Final = 60.0


class Names(msgspec.Struct, frozen=True):
    """What things are called."""

    cloud: str

    def queue(self, topic: str) -> str:
        """The queue of a topic, shared by all who listen on it."""
        return f"{self.cloud}.{topic}"

    @property
    def events(self) -> str:
        """The exchange of all events; their type's name is the routing key."""
        return f"{self.cloud}.events"

    @property
    def dead(self) -> str:
        """The queue of messages that nobody survived."""
        return f"{self.cloud}.dead"


COPIES: Final = 3
"""On how many members of a cluster a queue is; on all when there are fewer."""

TOPIC_QUEUE: Final[dict[str, Any]] = {
    "x-queue-type": "quorum", "x-quorum-initial-group-size": COPIES, "x-expires": round(ABSENT_S * 1000),
    "x-max-length": MAX_WAITING_PER_TOPIC, "x-max-length-bytes": MAX_WAITING_BYTES_PER_TOPIC,
    "x-overflow": "reject-publish",
}
DEAD_QUEUE: Final[dict[str, Any]] = {
    "x-queue-type": "quorum", "x-quorum-initial-group-size": COPIES, "x-max-length": MAX_DEAD,
}
EVENT_QUEUE: Final[dict[str, Any]] = {"x-max-length": MAX_WAITING_PER_TOPIC}
