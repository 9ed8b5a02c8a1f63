"""How much of an inventory may be given out, and in which amounts."""

from __future__ import annotations

import math

import msgspec

MAX_INT = 2_147_483_647
MAX_RATIO = 3.40282e38
MAX_CAPACITY = 2**53


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider has of one resource class.

    reserved: kept back. Amounts given to one consumer lie between min_unit and max_unit and are multiples of step_size.
    allocation_ratio: above 1 the same unit is given out more than once.
    """

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = MAX_INT
    step_size: int = 1
    allocation_ratio: float = 1.0

    @property
    def capacity(self) -> int:
        """What may be given out altogether."""
        return math.floor(min((self.total - self.reserved) * self.allocation_ratio, MAX_CAPACITY))

    def gives_out(self, amount: int) -> bool:
        """Whether one consumer may have this amount, if it is there."""
        return self.min_unit <= amount <= self.max_unit and amount % self.step_size == 0
