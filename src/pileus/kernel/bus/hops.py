"""The bus in traces: each message handled on behalf of a request is a hop, and so is each call that got no answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec

from pileus.kernel import context as ctx
from pileus.kernel.bus.messages import Message
from pileus.kernel.observe import hops


def handling(topic: str, message: Message) -> hops.hop:
    """Around the handling of a message. It is kept only if it belongs to a request."""
    kind = type(message)
    kept = kind.traced and bool(ctx.current().request_id)
    subject = _subject_of(kind)(message) if kept else ""
    return hops.hop(topic.partition("@")[0], kind.__name__, kind="bus", resource_id=subject, kept=kept)


def refusal_in(answer: Any) -> hops.HopFault | None:
    """The fault of an answer whose refusals are data: `answer.fault` has code, message and detail."""
    fault = getattr(answer, "fault", None)
    if fault is None:
        return None
    code, message, detail = (str(getattr(fault, name, "")) for name in ("code", "message", "detail"))
    return hops.HopFault(
        500, code, hops.clean(message, hops.MAX_FAULT_CHARS), hops.clean(detail, hops.MAX_DETAIL_CHARS)
    )


def asking(topic: str, message: Message) -> AbstractContextManager[None]:
    """Around a call, to record it if no answer comes."""
    kind = type(message)
    if not kind.traced or not ctx.current().request_id:
        return nullcontext()
    return hops.asking(topic.partition("@")[0], f"{kind.__name__} to {topic}", _subject_of(kind)(message))


@functools.cache
def _subject_of(kind: type[Message]) -> Callable[[Any], str]:
    """How to find the id of what a message is about: its first field that is named `…_id`, or that of a part of it."""
    for field in msgspec.structs.fields(kind):
        if field.name.endswith("_id"):
            return lambda message: str(getattr(message, field.name) or "")
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            inner = next((part.name for part in msgspec.structs.fields(field.type) if part.name.endswith("_id")), None)
            if inner is not None:
                return lambda message: str(getattr(getattr(message, field.name), inner) or "")
    return lambda _message: ""
