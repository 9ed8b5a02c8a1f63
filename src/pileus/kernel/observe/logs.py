"""Logging: stdlib, one line per record, with the request id of the work that wrote it and the global one."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import TextIO

from pileus.kernel import context
from pileus.kernel.observe.hops import without_tokens

FORMAT = "%(asctime)s %(levelname)-7s %(name)s [%(request_id)s %(global_request_id)s] %(message)s"
MAX_LOG_BYTES = 32 * 2**20
LOGS_KEPT = 3  # older ones beside the one that is written to
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


class BoundedFile(logging.StreamHandler[TextIO]):
    """Standard error that is a file: when it is full, it becomes the newest of a few older ones and a new one takes its
    place. All that this process writes there, tracebacks of C libraries as well, goes to the new one."""

    def __init__(self, path: Path, *, max_bytes: int, kept: int) -> None:
        super().__init__(sys.stderr)
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        """Write, and make room when that was the last that fits."""
        super().emit(record)
        if os.fstat(sys.stderr.fileno()).st_size > self._max_bytes:
            with contextlib.suppress(OSError):  # no room for a new one, say: the old one serves on
                self._renew()

    def _renew(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                _older(self._path, number).replace(_older(self._path, number + 1))
        self._path.replace(_older(self._path, 1))
        fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
                os.dup2(fresh, descriptor)
        finally:
            os.close(fresh)


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _handler(own_file: Path | None) -> logging.Handler:
    if own_file is not None:
        with contextlib.suppress(OSError, ValueError):  # no such file, or none that standard error could be
            if os.path.samestat(own_file.stat(), os.fstat(sys.stderr.fileno())):
                return BoundedFile(own_file, max_bytes=MAX_LOG_BYTES, kept=LOGS_KEPT)
    return logging.StreamHandler(sys.stderr)


def configure(level: str = "INFO", own_file: Path | None = None) -> None:
    """Send all logs to standard error. Secrets are never logged: log ids. own_file: this process's log; its size is
    bounded when that is what standard error is."""
    handler = _handler(own_file)
    handler.setFormatter(OneLine(FORMAT, "%Y-%m-%dT%H:%M:%S"))
    handler.addFilter(RequestIds())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These would write down what passes through them: rows, message bodies, passwords among them.
    for talkative in ("alembic", "sqlalchemy", "uvicorn", "asyncio", "aio_pika", "aiormq"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
