"""The bus over RabbitMQ. Imported only where the configuration names a broker."""

import logging

from pileus.kernel.bus.amqp.bus import AmqpBus

__all__ = ["AmqpBus"]

# A lost connection is one line of ours, not three tracebacks of the library's.
for _library in ("aiormq", "aio_pika"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)
