"""Log lines say which request they belong to, and nothing that a client sent can pass for a line of its own."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from pileus.kernel import context
from pileus.kernel.context import Context
from pileus.kernel.observe.logs import CONTINUED, FORMAT, OneLine, RequestIds

REQUEST, GLOBAL = "req-" + "1" * 8, "req-" + "2" * 8


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a logger like the cloud's writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine(FORMAT))
    handler.addFilter(RequestIds())
    logger = logging.getLogger("pileus.test_logs")
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)


log = logging.getLogger("pileus.test_logs")


def test_each_line_names_its_request_and_the_global_one(lines: io.StringIO) -> None:
    log.warning("outside")
    token = context.enter(Context(request_id=REQUEST, global_request_id=GLOBAL))
    log.warning("inside")
    context.leave(token)
    first, second = lines.getvalue().splitlines()
    assert "[- -] outside" in first
    assert f"[{REQUEST} {GLOBAL}] inside" in second


@pytest.mark.parametrize(
    "evil", ["\n2026-01-01 INFO forged", "\r\x1b[2Jgone", "\u2028forged", "\u202eterces", "\x9b31m"]
)
def test_control_characters_are_shown_not_obeyed(lines: io.StringIO, evil: str) -> None:
    log.warning("name %s", "x" + evil)
    written = lines.getvalue()
    assert written.count("\n") == 1
    assert written.endswith("\n")
    assert not {"\r", "\x1b", "\u2028", "\u202e", "\x9b"} & set(written)


def test_a_traceback_stays_readable_and_what_it_quotes_stays_inside(lines: io.StringIO) -> None:
    try:
        raise ValueError("first\n2026-01-01T00:00:00 ERROR pileus.forged [- -] second\x1b[2J")
    except ValueError:
        log.exception("it failed", stack_info=True)
    head, *rest = lines.getvalue().splitlines()
    assert "it failed" in head
    assert all(line.startswith(CONTINUED) for line in rest)
    assert any(line.startswith(CONTINUED + "Traceback") for line in rest)
    assert any("test_logs.py" in line for line in rest)
    assert "\x1b" not in lines.getvalue()
    assert "\\x1b[2J" in lines.getvalue()


def test_a_token_in_a_message_or_an_error_is_not_written(lines: io.StringIO) -> None:
    token = "gAAAAABl" + "x" * 120
    log.warning("GET /v2.0/tokens/%s", token)
    try:
        raise LookupError(token)
    except LookupError:
        log.exception("no such thing")
    assert "gAAAA" not in lines.getvalue()
    assert "<token>" in lines.getvalue()
