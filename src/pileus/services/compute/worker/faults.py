"""From what went wrong on a host to the `Fault` that the conductor reads."""

from __future__ import annotations

import errno

from pileus.kernel.errors import ServiceError
from pileus.kernel.host.command import CommandError
from pileus.services.compute.drivers.hypervisor.interface import GuestNotFound, HypervisorError, HypervisorTimeout
from pileus.services.compute.rpc import Fault, FaultCode

_FULL = "The compute host's disk for servers is full."


class ServerFault(Exception):
    """Work for a server cannot succeed; carries what to tell."""

    def __init__(self, code: FaultCode, message: str, *, detail: str = "", retryable: bool = False) -> None:
        self.fault = Fault(code, message, detail, retryable)
        super().__init__(f"{message} {detail}".strip())


EXPECTED = (ServerFault, HypervisorError, CommandError, ServiceError, OSError)
"""What host work may raise; anything else is a defect."""


def fault_of(error: Exception) -> Fault:
    """The fault that stands for one of the `EXPECTED` errors."""
    match error:
        case ServerFault():
            return error.fault
        case HypervisorTimeout():
            return Fault("driver_timeout", "The hypervisor did not answer in time.", str(error), retryable=True)
        case GuestNotFound():
            return Fault("unknown_server", "The server is not defined on this host.", str(error))
        case HypervisorError():
            return Fault("driver_failed", "The hypervisor could not do it.", str(error), retryable=True)
        case CommandError() if "No space left" in error.stderr:
            return Fault("no_space", _FULL, str(error), retryable=True)
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Fault("no_space", _FULL, str(error), retryable=True)
        case _:
            return Fault("driver_failed", "The host could not do it.", str(error), retryable=True)
