"""Where the services are: in this process, or in another one at the endpoint that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pileus.kernel.config import ConfigError, NodeConfig
from pileus.kernel.errors import RemoteError
from pileus.kernel.http.client import Transport
from pileus.kernel.process.manifest import Service

if TYPE_CHECKING:
    from pileus.kernel.http.network_transport import NetworkTransport

SECTION = "endpoints"
"""The configuration table: service type -> URL of its root, such as `http://10.0.0.1:8900/identity`."""


class Siblings:
    """Routes requests to services. served: whether this process serves one; then no endpoint is needed."""

    def __init__(
        self, services: Mapping[str, Service], endpoints: Mapping[str, str], here: Transport,
        served: Callable[[str], bool],
    ) -> None:
        self._services = services
        self._endpoints = {kind: _checked(kind, url) for kind, url in endpoints.items()}
        self._here = here
        self._served = served
        self._transports: dict[str, NetworkTransport] = {}

    def route(self, kind: str) -> tuple[Transport, str]:
        """The transport to a service and the path of its root there. RemoteError 503 when it is nowhere."""
        if self._served(kind):
            return self._here, self._services[kind].path
        url = self._endpoints.get(kind)
        if url is None:
            text = f"There is no {kind} service here, and [{SECTION}] does not say where it is."
            raise RemoteError(503, "ServiceUnavailable", text)
        if kind not in self._transports:
            from pileus.kernel.http.network_transport import NetworkTransport  # not loaded where all is in one process

            self._transports[kind] = NetworkTransport(kind, url)
        return self._transports[kind], urlsplit(url).path

    def catalog_url(self, config: NodeConfig, service: Service) -> str:
        """Where clients find a service: at the public URL, else at its endpoint, else here."""
        if not config.public_url and (url := self._endpoints.get(service.type)):
            return url + service.catalog_path.removeprefix(service.path)
        return config.url + service.catalog_path

    def close(self) -> None:
        """Drop all connections."""
        for transport in self._transports.values():
            transport.close()


def _checked(kind: str, url: object) -> str:
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"[{SECTION}] {kind}: {url!r} is not the URL of a service")
    return parts.geturl().rstrip("/")
