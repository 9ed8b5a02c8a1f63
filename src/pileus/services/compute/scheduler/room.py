"""Whether a host has room for an amount of one resource class, and by how much it has not."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState


def refusal(host: HostState, resource_class: str, amount: int, unit: str) -> Refusal | None:
    """None when the amount fits."""
    if amount <= 0:
        return None
    capacity = host.capacity.get(resource_class)
    if capacity is None:
        return Refusal(f"it offers no {resource_class}", amount, 0, unit)
    if capacity.free < amount:
        return Refusal("it has not enough left", amount, capacity.free, unit)
    if capacity.max_unit is not None and amount > capacity.max_unit:
        return Refusal("one server may not have that much of it", amount, capacity.max_unit, unit)
    return None


def share_left(host: HostState, resource_class: str, amount: int) -> float:
    """The share of the host's capacity that would still be free with the amount taken, from 0 to 1."""
    capacity = host.capacity.get(resource_class)
    if capacity is None or capacity.capacity <= 0:
        return 0.0
    return min(1.0, max(0.0, (capacity.free - amount) / capacity.capacity))
