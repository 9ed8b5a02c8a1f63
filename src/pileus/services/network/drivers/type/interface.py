"""What a type driver is: it knows which segments there are, and what a user may ask for. It takes nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from pileus.services.network.errors import NetworkError


class Segment(msgspec.Struct, frozen=True):
    """What carries a network. Physical network and id are None where the type has none."""

    network_type: str
    physical_network: str | None = None
    segmentation_id: int | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What must be unique."""
        return self.network_type, self.physical_network or "", self.segmentation_id or 0


class SegmentRange(msgspec.Struct, frozen=True):
    """Segments that may be allocated: ids from first to last."""

    physical_network: str
    first: int
    last: int


class TypeDriver(Protocol):
    """One kind of segment."""

    name: str

    def check(self, wanted: Segment) -> None:
        """Raise InvalidInput unless an operator may ask for this segment; an id of None means any."""
        ...

    def ranges(self, physical_network: str | None) -> Iterator[SegmentRange]:
        """Where ids may be allocated from, on one physical network or on all."""
        ...

    def max_mtu(self) -> int:
        """The largest frame payload in bytes."""
        ...

    def taken(self, segment: Segment) -> NetworkError:
        """The error for a segment that another network has."""
        ...
