"""Networks that are an 802.1Q VLAN of a physical network."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.network.config import NetworkConfig
from pileus.services.network.drivers.type.interface import Segment, SegmentRange
from pileus.services.network.errors import InvalidInput, NetworkError, VlanIdInUse

MIN_ID, MAX_ID = 1, 4094


class VlanType:
    """See `TypeDriver`. An operator may ask for any id, tenants get those of the configured ranges."""

    name = "vlan"

    def __init__(self, config: NetworkConfig) -> None:
        self._config = config

    def check(self, wanted: Segment) -> None:
        known = {*self._config.vlan_ranges, *self._config.physical_networks}
        if wanted.physical_network is None:
            if wanted.segmentation_id is not None:
                raise InvalidInput(reason="segmentation_id requires physical_network for VLAN provider network")
            return
        if wanted.physical_network not in known:
            raise InvalidInput(
                reason=f"physical_network '{wanted.physical_network}' unknown for VLAN provider network"
            )
        number = wanted.segmentation_id
        if number is not None and not MIN_ID <= number <= MAX_ID:
            raise InvalidInput(reason=f"segmentation_id out of range ({MIN_ID} through {MAX_ID})")

    def ranges(self, physical_network: str | None) -> Iterator[SegmentRange]:
        for name, pairs in self._config.vlan_ranges.items():
            if physical_network in (None, name):
                yield from (SegmentRange(name, first, last) for first, last in pairs)

    def max_mtu(self) -> int:
        return self._config.global_physnet_mtu

    def taken(self, segment: Segment) -> NetworkError:
        return VlanIdInUse(segmentation_id=segment.segmentation_id, physical_network=segment.physical_network)
