"""What a mechanism driver is: it decides whether and how a host can carry a port. It touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from pileus.services.network.drivers.type.interface import Segment


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A port that is to be bound. configurations: those of the host's L2 agent, None when none is alive there."""

    network_id: str
    segment: Segment
    vnic_type: str
    configurations: Mapping[str, Any] | None


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """How the host plugs the port. wired: nothing is left for an agent to do."""

    vif_type: str
    vif_details: dict[str, Any]
    wired: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """Why the host cannot carry the port, for operators."""

    reason: str


class MechanismDriver(Protocol):
    """One way of carrying ports."""

    name: str

    def bind(self, request: Request) -> Binding | Refusal:
        """Decide."""
        ...
