"""For each flow: how a user makes it run. The proofs need nothing else; a flow without an entry here fails them."""

from __future__ import annotations

from typing import Any

from cloud import Cloud
from tests.api.compute.actors import Shop

SERVER_TABLES = ("compute.servers", "compute.server_faults")
FAULTS = ("compute.server_faults",)


class Scenario:
    """How a flow comes to run, for one cloud; `shop` has what every server needs.

    own: places where the resource itself is described, which differ after a failure (its state and its fault).
    reversible: a failure leads back to where it began; else asking again goes on from where it stopped.
    """

    own: tuple[str, ...] = ()
    reversible = True

    def __init__(self, cloud: Cloud, shop: Shop) -> None:
        self.cloud, self.shop = cloud, shop

    def ready(self) -> str:
        """Make what the request is about; its id, if it has one before the request."""
        return ""

    def ask(self, resource_id: str) -> str:
        """Send the request that starts the flow; the id of its resource."""
        raise NotImplementedError

    def reached(self, resource_id: str) -> bool:
        """Whether it is as the user wanted it."""
        raise NotImplementedError

    def failed(self, resource_id: str) -> bool:
        """Whether it is in a final state after a failure, and says why."""
        raise NotImplementedError

    def clear(self, resource_id: str) -> None:
        """Take everything away, from any state."""
        raise NotImplementedError


class ServerScenario(Scenario):
    """What all flows of servers share."""

    wanted = ""

    def ready(self) -> str:
        made = self.shop.boot("ready", networks=[{"uuid": self.shop.network}])
        self.shop.admin.until_status(made, "ACTIVE")
        return made

    def ask(self, resource_id: str) -> str:
        answer = self.shop.user.act(resource_id, *self.action())
        assert answer.status_code == 202, answer.text
        return resource_id

    def action(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def shown(self, resource_id: str) -> dict[str, Any] | None:
        answer = self.shop.admin.ask("GET", f"/servers/{resource_id}")
        assert answer.status_code in (200, 404), answer.text
        return answer.json()["server"] if answer.status_code == 200 else None

    def rests(self, resource_id: str, *statuses: str) -> bool:
        found = self.shown(resource_id)
        return found is not None and found["status"] in statuses and found["OS-EXT-STS:task_state"] is None

    def reached(self, resource_id: str) -> bool:
        return self.rests(resource_id, self.wanted)

    def clear(self, resource_id: str) -> None:
        if self.shown(resource_id) is not None:
            self.shop.user.delete(resource_id)


class CreateServer(ServerScenario):
    """With a port of compute's own, a port of the user's, tags and a config drive."""

    own = SERVER_TABLES
    wanted = "ACTIVE"

    def __init__(self, cloud: Cloud, shop: Shop) -> None:
        super().__init__(cloud, shop)
        # Ports are listed by their ids: one that most likely comes before compute's own, in whose place it could be.
        self.port, *others = sorted(self._port() for _ in range(12))
        for port in others:
            shop.user.network("DELETE", f"/ports/{port}")

    def _port(self) -> str:
        made = self.shop.user.network("POST", "/ports", {"port": {"network_id": self.shop.network, "name": "given"}})
        assert made.status_code == 201, made.text
        return made.json()["port"]["id"]

    def ready(self) -> str:
        return ""

    def reached(self, resource_id: str) -> bool:
        if not super().reached(resource_id):
            return False
        shown = self.shown(resource_id) or {"addresses": {}}
        found = [address["addr"] for some in shown["addresses"].values() for address in some]
        return len(found) == len(set(found)) == 2

    def ask(self, resource_id: str) -> str:
        networks = [{"port": self.port}, {"uuid": self.shop.network}]
        return self.shop.boot("made", networks=networks, config_drive=True, metadata={"role": "proof"})

    def failed(self, resource_id: str) -> bool:
        found = self.shown(resource_id)
        return self.rests(resource_id, "ERROR") and found is not None and "told to fail" in found["fault"]["message"]


class DeleteServer(ServerScenario):
    own = SERVER_TABLES
    reversible = False

    def ask(self, resource_id: str) -> str:
        answer = self.shop.user.ask("DELETE", f"/servers/{resource_id}")
        assert answer.status_code == 204, answer.text
        return resource_id

    def reached(self, resource_id: str) -> bool:
        return self.shown(resource_id) is None

    def failed(self, resource_id: str) -> bool:
        found = self.shown(resource_id)
        return self.rests(resource_id, "ERROR") and found is not None and "told to fail" in found["fault"]["message"]


class PowerScenario(ServerScenario):
    """Starting, stopping, rebooting: after a failure the server shows what its guest really does."""

    own = FAULTS
    reversible = False

    def failed(self, resource_id: str) -> bool:
        return self.rests(resource_id, "ACTIVE", "SHUTOFF")


class StopServer(PowerScenario):
    wanted = "SHUTOFF"

    def action(self) -> tuple[Any, ...]:
        return ("os-stop",)


class StartServer(PowerScenario):
    wanted = "ACTIVE"

    def ready(self) -> str:
        made = super().ready()
        assert self.shop.user.act(made, "os-stop").status_code == 202
        self.shop.admin.until_status(made, "SHUTOFF")
        return made

    def action(self) -> tuple[Any, ...]:
        return ("os-start",)


class RebootServer(PowerScenario):
    wanted = "ACTIVE"

    def action(self) -> tuple[Any, ...]:
        return "reboot", {"type": "HARD"}


SCENARIOS: dict[str, type[Scenario]] = {
    "create_server": CreateServer,
    "delete_server": DeleteServer,
    "start_server": StartServer,
    "stop_server": StopServer,
    "reboot_server": RebootServer,
}
