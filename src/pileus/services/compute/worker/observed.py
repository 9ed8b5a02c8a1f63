"""What the agent does, as hops for traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pileus.kernel.observe.hops import HopFault, hop
from pileus.services.compute.rpc import AGENT_ROLE
from pileus.services.compute.worker.faults import EXPECTED, fault_of


@contextmanager
def observed(what: str, server_id: str) -> Iterator[hop]:
    """Record the block as one hop about a server, with the fault that the conductor will hear of."""
    with hop(AGENT_ROLE, what, resource_id=server_id) as work:
        try:
            yield work
        except EXPECTED as error:
            fault = fault_of(error)
            work.fault = HopFault(500, fault.code, fault.message, fault.detail)
            raise
