"""What every token format can do."""

from __future__ import annotations

from typing import Protocol


class InvalidToken(ValueError):
    """Not a token that this cloud made with a key it still has."""


class Sealer(Protocol):
    """Turns a token's content into what the client carries, and back."""

    def seal(self, content: bytes) -> str:
        """The token for this content: confidential and tamper-proof."""
        ...

    def unseal(self, token: str) -> bytes:
        """The content. Raises `InvalidToken`."""
        ...
