"""The bus: typed calls, casts and events between roles. It only wakes people up; the databases hold the truth."""

from pileus.kernel.bus.local import LocalBus
from pileus.kernel.bus.messages import Bus, Event, Handler, Message, NoListener

__all__ = ["Bus", "Event", "Handler", "LocalBus", "Message", "NoListener"]
