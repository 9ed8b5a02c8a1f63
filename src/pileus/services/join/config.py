"""Table [join]."""

from __future__ import annotations

import msgspec

from pileus.kernel.config import NodeConfig
from pileus.kernel.config.loader import Port
from pileus.services.join.logic.place import at


class JoinConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where hosts join.

    listen, port: where the role `join-api` listens, with TLS (listen None: as [node] listen). address: `host:port` at
    which new hosts reach it, when that differs (a virtual address, say). token_ttl_s: how long a token is good when
    nothing else is said.
    """

    listen: str | None = None
    port: Port = 8990
    address: str | None = None
    token_ttl_s: int = 3_600

    def reached_at(self, node: NodeConfig) -> str:
        """`host:port` for tokens."""
        return self.address or at(self.listens_at(node), self.port)

    def listens_at(self, node: NodeConfig) -> str:
        """The address to listen on."""
        return self.listen or node.listen
