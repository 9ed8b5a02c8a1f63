"""Answers guests that ask for their metadata, over the bus from the network's agents.

Who asks is known by where the request came in (network or router, and source address), never by what it says.
"""

from __future__ import annotations

import time
from typing import Any

from pileus.kernel.bus import NoListener
from pileus.kernel.errors import RemoteError
from pileus.kernel.process import Runtime
from pileus.services.compute.clients.network import NetworkClient
from pileus.services.compute.db import servers
from pileus.services.compute.db.servers import Server
from pileus.services.compute.logic import guest_metadata
from pileus.services.network.rpc import (
    METADATA_TOPIC,
    SERVER_TOPIC,
    FindMetadataPort,
    MetadataPort,
    MetadataRequest,
    MetadataResponse,
)

FIND_TIMEOUT_S = 10.0
ANSWER_KEPT_S = 2.0
MAX_KEPT = 1_000
NOT_FOUND = MetadataResponse(status=404, body=b"404 Not Found\n")
UNAVAILABLE = MetadataResponse(status=503, body=b"503 Service Unavailable\n")


class MetadataService:
    """One guest asks for some dozen paths within a second of its boot: who it is is found out once for those."""

    def __init__(self, rt: Runtime[Any]) -> None:
        self._rt = rt
        self._known: dict[tuple[str | None, str | None, str], tuple[float, Server | None]] = {}

    async def answer(self, request: MetadataRequest) -> MetadataResponse:
        """One request of a guest."""
        if request.method not in ("GET", "HEAD"):
            return MetadataResponse(status=405, body=b"405 Method Not Allowed\n")
        try:
            server = await self._asking(request)
        except (NoListener, TimeoutError, RemoteError):
            return UNAVAILABLE
        if server is None:
            return NOT_FOUND
        path = request.path.partition("?")[0]
        subnets = []
        if path.rstrip("/").endswith("network_data.json"):
            networks = sorted({vif.network_id for vif in server.network_info})
            subnets = await self._rt.get(NetworkClient).subnets(networks) if networks else []
        found = guest_metadata.lookup(server, subnets, path)
        if found is None:
            return NOT_FOUND
        return MetadataResponse(status=200, content_type=found.media_type, body=found.content)

    async def _asking(self, request: MetadataRequest) -> Server | None:
        key = (request.network_id, request.router_id, request.source_ip)
        until, server = self._known.get(key, (0.0, None))
        if time.monotonic() < until:
            return server
        server = await self._find(request)
        if len(self._known) >= MAX_KEPT:
            self._known.clear()
        if server is not None:
            self._known[key] = (time.monotonic() + ANSWER_KEPT_S, server)
        return server

    async def _find(self, request: MetadataRequest) -> Server | None:
        question = FindMetadataPort(
            source_ip=request.source_ip, network_id=request.network_id, router_id=request.router_id
        )
        port: MetadataPort = await self._rt.bus.call(SERVER_TOPIC, question, timeout_s=FIND_TIMEOUT_S)
        if not port.port_id or not port.device_id:
            return None
        server = await self._rt.db.read(servers.get, port.device_id)
        # A port that merely claims to belong to a server must not read its data.
        if server is None or server.project_id != port.project_id:
            return None
        return server if any(vif.port_id == port.port_id for vif in server.network_info) else None


async def start(rt: Runtime[Any]) -> None:
    """The role `compute-metadata`."""
    rt.bus.listen(METADATA_TOPIC, {MetadataRequest: MetadataService(rt).answer})
