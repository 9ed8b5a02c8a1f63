"""Waiting for ports survives a network service that is away for a moment."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.kernel.errors import RemoteError
from pileus.kernel.http.client import HttpResult
from pileus.services.compute.clients.network import NetworkClient
from pileus.services.compute.flows import port_watch
from pileus.services.compute.flows.port_watch import PortWatch


class Restarting:
    """A session with a network service that answers the second time."""

    def __init__(self) -> None:
        self.asked = 0

    async def request(self, *_: object, **__: Any) -> HttpResult:
        self.asked += 1
        if self.asked == 1:
            raise RemoteError(503, "ServiceUnavailable", "not now")
        return HttpResult(200, {}, b'{"ports": [{"id": "p1", "network_id": "n", "status": "ACTIVE"}]}')


async def test_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_watch, "ASK_AGAIN_S", 0.01)
    session = Restarting()
    await PortWatch(NetworkClient(session)).until_active(["p1"], 60.0)  # type: ignore[arg-type]
    assert session.asked == 2


async def test_a_wait_that_is_in_vain_names_the_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_watch, "ASK_AGAIN_S", 0.01)
    with pytest.raises(TimeoutError, match="p2"):
        await PortWatch(NetworkClient(Restarting())).until_active(["p2"], 0.2)  # type: ignore[arg-type]
