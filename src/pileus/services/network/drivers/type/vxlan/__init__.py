"""Networks in VXLAN tunnels between hosts (RFC 7348)."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.network.config import NetworkConfig
from pileus.services.network.drivers.type.interface import Segment, SegmentRange
from pileus.services.network.errors import InvalidInput, NetworkError, TunnelIdInUse

MIN_ID, MAX_ID = 1, (1 << 24) - 1


class VxlanType:
    """See `TypeDriver`."""

    name = "vxlan"

    def __init__(self, config: NetworkConfig) -> None:
        self._config = config

    def check(self, wanted: Segment) -> None:
        if wanted.physical_network:
            raise InvalidInput(reason="provider:physical_network specified for vxlan network")
        number = wanted.segmentation_id
        if number is not None and not MIN_ID <= number <= MAX_ID:
            raise InvalidInput(reason=f"segmentation_id out of range ({MIN_ID} through {MAX_ID})")

    def ranges(self, physical_network: str | None) -> Iterator[SegmentRange]:
        return (SegmentRange("", first, last) for first, last in self._config.vni_ranges)

    def max_mtu(self) -> int:
        return self._config.global_physnet_mtu - self._config.vxlan_overhead

    def taken(self, segment: Segment) -> NetworkError:
        return TunnelIdInUse(segmentation_id=segment.segmentation_id)
