"""Ports on Linux bridges, one bridge per network, looked after by the host's L2 agent."""

from __future__ import annotations

from pileus.services.network.drivers.mechanism.interface import Binding, Refusal, Request
from pileus.services.network.rpc import bridge_name


class LinuxBridgeMechanism:
    """See `MechanismDriver`."""

    name = "linuxbridge"

    def bind(self, request: Request) -> Binding | Refusal:
        if request.vnic_type != "normal":
            return Refusal(f"vnic_type {request.vnic_type} is not offered")
        if request.configurations is None:
            return Refusal("no L2 agent is alive there")
        segment = request.segment
        if segment.network_type == "vxlan":
            if "vxlan" not in request.configurations.get("tunnel_types", ()):
                return Refusal("its L2 agent has no tunnel address for vxlan")
        elif segment.physical_network not in request.configurations.get("bridge_mappings", {}):
            return Refusal(f"it is not connected to the physical network {segment.physical_network}")
        details = {"port_filter": True, "connectivity": "l2", "bridge_name": bridge_name(request.network_id)}
        return Binding(vif_type="bridge", vif_details=details)
