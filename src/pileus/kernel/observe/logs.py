"""Logging: stdlib, one line per record, with the request id of the work that wrote it and the global one."""

from __future__ import annotations

import logging
import re
import sys
from types import TracebackType

from pileus.kernel import context
from pileus.kernel.observe.hops import without_tokens

FORMAT = "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s %(global_request_id)s] %(message)s"
CONTINUED = "    | "
"""What the lines of a traceback begin with: nothing that an error quotes can pass for a record of its own."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class RequestIds(logging.Filter):
    """Adds the ids of the current request; `-` outside of any."""

    def filter(self, record: logging.LogRecord) -> bool:
        here = context.current()
        record.request_id = here.request_id or "-"
        record.global_request_id = here.global_request_id or "-"
        return True


class OneLine(logging.Formatter):
    """What clients named cannot begin a new line, nor steer a terminal; nor is a token among it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escaped(super().formatMessage(record))

    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return _continued(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _continued(super().formatStack(stack_info))


def escaped(line: str) -> str:
    """A line as it may be shown: no control characters, no marks that turn the direction of text, no tokens."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), without_tokens(line))


def _continued(text: str) -> str:
    return "\n".join(CONTINUED + escaped(line) for line in text.split("\n"))


def configure(level: str = "INFO") -> None:
    """Send all logs to standard error. Secrets are never logged: log ids."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(FORMAT, "%Y-%m-%dT%H:%M:%S"))
    handler.addFilter(RequestIds())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These would write down what passes through them: rows, message bodies, passwords among them.
    for talkative in ("alembic", "sqlalchemy", "uvicorn", "asyncio", "aio_pika", "aiormq"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
