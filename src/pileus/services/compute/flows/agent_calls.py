"""Asking the agent of a host, with its refusals as errors."""

from __future__ import annotations

from typing import Any

from pileus.kernel.bus import Message, NoListener
from pileus.kernel.errors import RemoteError, ServiceError
from pileus.kernel.process import Runtime
from pileus.services.compute.db import services
from pileus.services.compute.errors import GuestOperationFailed, HostUnreachable
from pileus.services.compute.rpc import (
    DESTROY_TIMEOUT_S,
    DestroyServer,
    Fault,
    FaultCode,
    ServerReport,
    agent_topic,
)

ABSENCE_ATTEMPTS = 8
"""Of a step that needs one certain host: with the usual pauses a minute, in which an agent that restarts, or the
hypervisor of a host that does, is back."""

SAME_EVERYWHERE: frozenset[FaultCode] = frozenset({"image_unsafe", "image_too_big", "stale_generation"})
"""Faults that another host would report as well."""


class HostRefused(GuestOperationFailed):
    """The host could not do it. `elsewhere`: another host may be able to."""

    def __init__(self, host: str, fault: Fault) -> None:
        super().__init__(reason=fault.message, detail=f"{host}: {fault.code}: {fault.detail}")
        self.fault = fault
        self.elsewhere = fault.code not in SAME_EVERYWHERE


class HostSilent(HostUnreachable):
    """Nobody answers for the host."""


class HostAbsent(HostSilent):
    """Its agent does not run now: nothing was done."""


class HypervisorSilent(HostSilent):
    """The agent answers, but its hypervisor does not: whether it did what was asked is as unknown."""

    def __init__(self, host: str, fault: Fault) -> None:
        super().__init__(fault.message, detail=f"{host}: {fault.detail}")


async def ask(rt: Runtime[Any], host: str, message: Message, *, timeout_s: float) -> ServerReport:
    """One call about one server. Raises `HostRefused` for a fault in the answer, `HostSilent` when none comes,
    from the agent or from its hypervisor."""
    try:
        report = await rt.bus.call(agent_topic(host), message, timeout_s=timeout_s)
    except NoListener as error:
        raise HostAbsent(detail=f"{host}: {error}") from error
    except TimeoutError as error:
        raise HostSilent(detail=f"{host}: {error}") from error
    except RemoteError as error:
        detail = f"{host}: {error.text}"
        raise GuestOperationFailed(reason="The compute host failed to do it.", detail=detail) from error
    if report.fault is not None:
        if report.fault.code == "driver_timeout":
            raise HypervisorSilent(host, report.fault)
        raise HostRefused(host, report.fault)
    return report


async def destroy(rt: Runtime[Any], host: str, server_id: str, generation: int) -> str:
    """Leave nothing of the server on the host; a sentence about it, mostly "". Raises HostSilent for a host that should
    answer; one that is down cleans up when it reports again, because the server is no longer placed on it."""
    try:
        await ask(rt, host, DestroyServer(server_id=server_id, generation=generation), timeout_s=DESTROY_TIMEOUT_S)
    except HostSilent:
        agent = await rt.db.read(services.by_host, host, services.COMPUTE)
        if agent is not None and agent.is_up(rt.clock.now()):
            raise
        return f"{host} is down; it will clean up when it is back"
    except HostRefused as refused:
        if refused.fault.code != "stale_generation":
            raise
    return ""


def may_work_elsewhere(error: ServiceError) -> bool:
    """Whether another host is worth a try."""
    return isinstance(error, HostSilent) or (isinstance(error, HostRefused) and error.elsewhere)
