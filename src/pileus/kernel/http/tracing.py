"""Requests in traces: which are kept, and as what hop."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from starlette.requests import Request

from pileus.kernel.context import Context
from pileus.kernel.errors import ServiceError
from pileus.kernel.http.routes import Route
from pileus.kernel.observe import hops

CAUSE_HEADER = "X-Pileus-Cause"
"""Says which hop had a sibling ask; sent by `ServiceSession`."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})
_CAUSE = re.compile(r"[\w./-]{1,64}")


def is_kept(request: Request, route: Route | None, status: int) -> bool:
    """What changes something, what fails, and what siblings ask on behalf of another request."""
    if route is not None and not route.traced:
        return status >= 500
    return status >= 400 or request.method not in READING or CAUSE_HEADER in request.headers


def record(
    request: Request, route: Route | None, role: str, path: str, context: Context, *, status: int, began: float,
    subject: str, error: ServiceError | None,
) -> None:
    """Record a request that was answered now. path: below the service, printable. subject: the id of what it was
    about. error: what was raised, if that was why."""
    cause = request.headers.get(CAUSE_HEADER, "")
    fault = None
    if status >= 400:
        fault = hops.HopFault(status, "Refused", "") if error is None else hops.fault_of(error)
    action = f" {route.action}" if route is not None and route.action else ""
    hops.record(
        id=context.request_id, role=role, kind="http", name=f"{request.method} {path}{action}", began=began,
        outcome=str(status), resource_id=subject, fault=fault,
        context=msgspec.structs.replace(context, cause=cause if _CAUSE.fullmatch(cause) else ""),
    )


def made(result: Any) -> str:
    """The id of what a POST made, where its answer shows one thing (`{"server": {"id": …}}`, or the thing itself)."""
    if isinstance(result, dict) and len(result) == 1:
        (result,) = result.values()
    found = result.get("id") if isinstance(result, dict) else None
    return found if isinstance(found, str) else ""
