"""Networks that are a physical network, untagged: one each."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.network.config import NetworkConfig
from pileus.services.network.drivers.type.interface import Segment, SegmentRange
from pileus.services.network.errors import FlatNetworkInUse, InvalidInput, NetworkError


class FlatType:
    """See `TypeDriver`."""

    name = "flat"

    def __init__(self, config: NetworkConfig) -> None:
        self._config = config

    def check(self, wanted: Segment) -> None:
        if wanted.segmentation_id is not None:
            raise InvalidInput(reason="provider:segmentation_id specified for flat network")
        if not wanted.physical_network:
            raise InvalidInput(reason="physical_network required for flat provider network")
        if not {"*", wanted.physical_network} & set(self._config.flat_networks):
            raise InvalidInput(
                reason=f"physical_network '{wanted.physical_network}' unknown for flat provider network"
            )

    def ranges(self, physical_network: str | None) -> Iterator[SegmentRange]:
        names = [physical_network] if physical_network else [name for name in self._config.flat_networks if name != "*"]
        return (SegmentRange(name, 0, 0) for name in names)

    def max_mtu(self) -> int:
        return self._config.global_physnet_mtu

    def taken(self, segment: Segment) -> NetworkError:
        return FlatNetworkInUse(physical_network=segment.physical_network)
