"""Ports on hosts that are only imagined: any host will do, and nothing has to be wired."""

from __future__ import annotations

from pileus.services.network.drivers.mechanism.interface import Binding, Refusal, Request
from pileus.services.network.rpc import bridge_name


class FakeMechanism:
    """See `MechanismDriver`."""

    name = "fake"

    def bind(self, request: Request) -> Binding | Refusal:
        details = {"port_filter": True, "connectivity": "l2", "bridge_name": bridge_name(request.network_id)}
        return Binding(vif_type="bridge", vif_details=details, wired=True)
