"""Corruptions, one per finding that can be planted without a real host: each makes exactly that finding."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from actors import Actor, Shop, make_image
from sqlalchemy import create_engine, delete, select, text, update

from cloud import Cloud
from pileus.kernel.context import Context
from pileus.kernel.db import Tx
from pileus.services.compute.db import FLOWS
from pileus.services.compute.db.servers import SERVERS
from pileus.services.compute.flows import stop_server
from pileus.services.compute.flows.power import PowerData
from pileus.services.image.db.images import IMAGES
from pileus.services.network.db.agents import DHCP_SERVICES
from pileus.services.network.db.floating_ips import FLOATING_IPS
from pileus.services.network.db.networks import NETWORKS, SEGMENTS
from pileus.services.network.db.ports import PORTS
from pileus.services.network.db.routers import ROUTER_PORTS
from pileus.services.placement.db.allocations import ALLOCATIONS
from pileus.services.placement.db.consumers import CONSUMERS
from pileus.services.placement.db.inventories import INVENTORIES

HOST = "test-host"
LONG_AGO = timedelta(hours=8)


class Planted:
    """resources: what the finding must name. undo: puts right what repair leaves to people."""

    def __init__(self, undo: Callable[[], object] = lambda: None, **resources: str) -> None:
        self.resources = resources
        self.undo = undo


class Garden:
    """A cloud to plant in."""

    def __init__(self, cloud: Cloud, shop: Shop) -> None:
        self.cloud, self.shop = cloud, shop
        self._external = ""
        self._servers: list[str] = []

    def tidy(self) -> None:
        """Delete the servers that were planted in."""
        while self._servers:
            self.shop.user.delete(self._servers.pop())

    def write(self, service: str, change: Callable[[Tx], Any]) -> Any:
        """Run a transaction in a service's database."""
        assert self.cloud.node is not None
        return self.cloud.run(self.cloud.node.runtimes[service].db.write(change))

    def execute(self, service: str, statement: Any) -> None:
        """One statement, which must change something."""
        assert self.write(service, lambda tx: tx.execute(statement).rowcount) > 0

    def execute_unchecked(self, service: str, statement: Any) -> None:
        """The same while foreign keys are not looked at."""
        if self.cloud.schemas:
            off, on = (text(f"SET FOREIGN_KEY_CHECKS = {number}") for number in (0, 1))
            self.write(service, lambda tx: [tx.execute(each) for each in (off, statement, on)])
            return
        engine = create_engine(f"sqlite:///{self.state / 'db' / service}.sqlite")  # off unless it is asked for
        with engine.begin() as connection:
            connection.execute(statement)
        engine.dispose()

    def scalar(self, service: str, statement: Any) -> Any:
        return self.write(service, lambda tx: tx.scalar(statement))

    @property
    def state(self) -> Path:
        return Path(self.cloud.state_dir)

    def server(self) -> str:
        """A new ACTIVE server."""
        server = self.shop.boot("planted")
        self._servers.append(server)
        self.shop.user.until_status(server, "ACTIVE")
        return server

    def ask(self, method: str, path: str, body: Any = None, *, actor: Actor | None = None) -> dict[str, Any]:
        answer = (actor or self.shop.admin).network(method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else {}

    @property
    def external(self) -> str:
        """An external network."""
        if not self._external:
            body = {"network": {"name": "outside", "router:external": True, "provider:network_type": "flat",
                                "provider:physical_network": "public"}}  # fmt: skip
            self._external = self.ask("POST", "/networks", body)["network"]["id"]
            subnet = {"network_id": self._external, "cidr": "192.0.2.0/24", "ip_version": 4, "enable_dhcp": False}
            self.ask("POST", "/subnets", {"subnet": subnet})
        return self._external

    def floating_ip(self) -> str:
        body = {"floatingip": {"floating_network_id": self.external}}
        return self.ask("POST", "/floatingips", body)["floatingip"]["id"]

    def network(self, **values: Any) -> str:
        return self.ask("POST", "/networks", {"network": {"name": "planted", **values}})["network"]["id"]

    def port_of(self, server: str) -> str:
        return self.scalar("network", select(PORTS.c.id).where(PORTS.c.device_id == server))


def _server_row(garden: Garden, server: str, **values: Any) -> None:
    garden.execute("compute", update(SERVERS).where(SERVERS.c.id == server).values(**values))


# -- flows and states ------------------------------------------------------------------------------------------------


def _flow(garden: Garden, **values: Any) -> tuple[str, str]:
    """A flow that a runner which is gone still holds."""
    resource = str(uuid.uuid4())

    def plant(tx: Tx) -> str:
        data = PowerData(server_id=resource, generation=1, vm_state="active")
        flow_id = FLOWS.start(tx, stop_server.FLOW, resource, data, Context(request_id="req-planted"))
        held = {"lease_owner": "nobody", "lease_until": tx.now() + LONG_AGO}
        tx.execute(update(FLOWS.flows).where(FLOWS.flows.c.id == flow_id).values(**held, **values))
        return flow_id

    return garden.write("compute", plant), resource


def flow_unknown_version(garden: Garden) -> Planted:
    flow, resource = _flow(garden, version=99)
    return Planted(flow=flow, resource=resource)


def flow_overdue(garden: Garden) -> Planted:
    assert garden.cloud.node is not None
    flow, resource = _flow(garden, deadline_at=garden.cloud.node.clock.now() - LONG_AGO)
    return Planted(flow=flow, resource=resource)


def state_past_deadline(garden: Garden) -> Planted:
    server = garden.server()
    _server_row(garden, server, task_state="powering-off")
    return Planted(server=server)


def image_past_deadline(garden: Garden) -> Planted:
    assert garden.cloud.node is not None
    image = make_image(garden.cloud, garden.shop.admin.token, "planted")
    last = garden.cloud.node.clock.now() - LONG_AGO
    key = garden.scalar("image", select(IMAGES.c.store_key).where(IMAGES.c.id == image))
    values = {"status": "saving", "upload_owner": "nobody", "upload_beat_at": last}
    garden.execute("image", update(IMAGES).where(IMAGES.c.id == image).values(**values))
    (garden.state / "image" / "images" / key).rename(garden.state / "image" / "images" / f"{key}.part")
    return Planted(image=image)


def port_past_deadline(garden: Garden) -> Planted:
    assert garden.cloud.node is not None
    server = garden.server()
    port, before = garden.port_of(server), garden.cloud.node.clock.now() - LONG_AGO
    _server_row(garden, server, updated_at=before)
    down = {"status": "DOWN", "l2_up": False, "updated_at": before}
    garden.execute("network", update(PORTS).where(PORTS.c.id == port).values(**down))
    return Planted(port=port, server=server)


# -- files -----------------------------------------------------------------------------------------------------------


def disk_without_row(garden: Garden) -> Planted:
    server = str(uuid.uuid4())
    directory = garden.state / "compute" / "instances" / server
    directory.mkdir()
    (directory / "disk").write_bytes(b"left behind")
    (directory / "disk").chmod(0o600)
    return Planted(server=server)


def row_without_disk(garden: Garden) -> Planted:
    server = garden.server()
    shutil.rmtree(garden.state / "compute" / "instances" / server)
    return Planted(server=server)


def disk_without_base(garden: Garden) -> Planted:
    server = garden.server()
    journal = garden.state / "compute" / "instances" / server / "journal.json"
    before = journal.read_bytes()
    journal.write_bytes(msgspec.json.encode({**json.loads(before), "base": "gone-0123"}))
    return Planted(lambda: journal.write_bytes(before), server=server, base="gone-0123")


def image_file_without_row(garden: Garden) -> Planted:
    key = str(uuid.uuid4())
    (garden.state / "image" / "images" / f"{key}.part").write_bytes(b"half")
    (garden.state / "image" / "images" / f"{key}.part").chmod(0o600)
    return Planted(object=key)


def image_row_without_file(garden: Garden) -> Planted:
    image = make_image(garden.cloud, garden.shop.admin.token, "planted")
    key = garden.scalar("image", select(IMAGES.c.store_key).where(IMAGES.c.id == image))
    with (garden.state / "image" / "images" / key).open("r+b") as file:
        file.truncate(10)
    return Planted(image=image)


def secret_in_log(garden: Garden) -> Planted:
    log = garden.state / "log" / "planted.log"
    log.parent.mkdir(exist_ok=True, mode=0o700)
    log.write_text(f"GET /servers X-Auth-Token: {garden.shop.admin.token}\n" + "x" * 100)
    log.chmod(0o600)
    return Planted(file=str(log), secret="token")


def world_readable_secret(garden: Garden) -> Planted:
    path = garden.state / "cluster.key"
    path.chmod(0o644)
    return Planted(file=str(path))


# -- claims and quotas -----------------------------------------------------------------------------------------------


def server_without_allocation(garden: Garden) -> Planted:
    server = garden.server()
    garden.execute("placement", delete(ALLOCATIONS).where(ALLOCATIONS.c.consumer_uuid == server))
    garden.execute("placement", delete(CONSUMERS).where(CONSUMERS.c.uuid == server))
    return Planted(server=server)


def allocation_without_server(garden: Garden) -> Planted:
    consumer, admin = str(uuid.uuid4()), garden.shop.admin
    provider = admin.get("/os-hypervisors")["hypervisors"][0]["id"]
    body = {
        "allocations": {provider: {"resources": {"VCPU": 1}}}, "project_id": admin.project_id or "p", "user_id": "u",
        "consumer_generation": None, "consumer_type": "INSTANCE",
    }  # fmt: skip
    headers = {"OpenStack-API-Version": "placement 1.39"}
    path = f"/placement/allocations/{consumer}"
    made = garden.cloud.request("PUT", path, token=admin.token, json=body, headers=headers)
    assert made.status_code == 204, made.text
    return Planted(consumer=consumer)


def allocation_wrong_size(garden: Garden) -> Planted:
    server = garden.server()
    mine = (ALLOCATIONS.c.consumer_uuid == server, ALLOCATIONS.c.resource_class == "VCPU")
    garden.execute("placement", update(ALLOCATIONS).where(*mine).values(used=3))
    return Planted(server=server)


def allocations_over_inventory(garden: Garden) -> Planted:
    garden.server()
    which = INVENTORIES.c.resource_class == "DISK_GB"
    before = garden.scalar("placement", select(INVENTORIES.c.reserved).where(which))
    total = garden.scalar("placement", select(INVENTORIES.c.total).where(which))
    garden.execute("placement", update(INVENTORIES).where(which).values(reserved=total))

    def undo() -> None:
        garden.execute("placement", update(INVENTORIES).where(which).values(reserved=before))

    return Planted(undo, resource_class="DISK_GB")


def quota_usage_wrong(garden: Garden) -> Planted:
    server = garden.server()
    _server_row(garden, server, vcpus=9)
    return Planted(server=server, project=garden.shop.user.project_id)


def claim_usage_wrong(garden: Garden) -> Planted:
    server = garden.server()
    garden.execute("placement", update(CONSUMERS).where(CONSUMERS.c.uuid == server).values(project_id="another"))
    return Planted(server=server)


def project_missing(garden: Garden) -> Planted:
    project = uuid.uuid4().hex
    network = garden.network(tenant_id=project)
    return Planted(lambda: garden.ask("DELETE", f"/networks/{network}"), project=project)


# -- network ---------------------------------------------------------------------------------------------------------


def port_without_server(garden: Garden) -> Planted:
    server = str(uuid.uuid4())
    values = {"network_id": garden.shop.network, "device_id": server, "device_owner": "compute:nova",
              "binding:host_id": HOST}  # fmt: skip
    port = garden.ask("POST", "/ports", {"port": values})["port"]["id"]
    return Planted(port=port, server=server)


def floating_ip_without_port(garden: Garden) -> Planted:
    server, item = garden.server(), garden.floating_ip()
    values = {"port_id": garden.port_of(server), "fixed_ip_address": "203.0.113.77"}
    garden.execute("network", update(FLOATING_IPS).where(FLOATING_IPS.c.id == item).values(**values))
    return Planted(floating_ip=item, port=values["port_id"])


def router_port_without_router(garden: Garden) -> Planted:
    router = garden.ask("POST", "/routers", {"router": {"name": "planted"}})["router"]["id"]
    network = garden.network()
    subnet = {"network_id": network, "cidr": "198.51.100.0/24", "ip_version": 4}
    subnet_id = garden.ask("POST", "/subnets", {"subnet": subnet})["subnet"]["id"]
    path = f"/routers/{router}/add_router_interface"
    port = garden.ask("PUT", path, {"subnet_id": subnet_id})["port_id"]
    garden.execute("network", delete(ROUTER_PORTS).where(ROUTER_PORTS.c.port_id == port))
    return Planted(port=port)


def dhcp_port_without_service(garden: Garden) -> Planted:
    garden.server()
    mine = DHCP_SERVICES.c.network_id == garden.shop.network
    port = garden.scalar("network", select(DHCP_SERVICES.c.port_id).where(mine))
    garden.execute("network", delete(DHCP_SERVICES).where(mine))
    return Planted(port=port)


def floating_port_without_floating_ip(garden: Garden) -> Planted:
    item = garden.floating_ip()
    mine = FLOATING_IPS.c.id == item
    port = garden.scalar("network", select(FLOATING_IPS.c.floating_port_id).where(mine))
    garden.execute("network", delete(FLOATING_IPS).where(mine))
    return Planted(port=port)


def duplicate_ip(garden: Garden) -> Planted:
    first, second = garden.floating_ip(), garden.floating_ip()
    column = FLOATING_IPS.c.floating_ip_address
    taken, before = (
        garden.scalar("network", select(column).where(FLOATING_IPS.c.id == item)) for item in (first, second)
    )

    def set_address(value: str) -> None:
        values = {"floating_ip_address": value}
        garden.execute("network", update(FLOATING_IPS).where(FLOATING_IPS.c.id == second).values(**values))

    set_address(taken)
    return Planted(lambda: set_address(before), network=garden.external, ip=taken)


def duplicate_mac(garden: Garden) -> Planted:
    first, second = (garden.port_of(garden.server()) for _ in range(2))
    taken, before = (
        garden.scalar("network", select(PORTS.c.mac_address).where(PORTS.c.id == port)) for port in (first, second)
    )

    def set_mac(value: str) -> None:
        garden.execute("network", update(PORTS).where(PORTS.c.id == second).values(mac_address=value))

    set_mac(taken.upper())  # the same to a switch, not to the database's unique key
    return Planted(lambda: set_mac(before), network=garden.shop.network, mac=taken)


def duplicate_segment(garden: Garden) -> Planted:
    first, second = garden.network(), garden.network()
    column = NETWORKS.c.segmentation_id
    taken, before = (garden.scalar("network", select(column).where(NETWORKS.c.id == n)) for n in (first, second))

    def set_segment(value: int) -> None:
        garden.execute("network", update(NETWORKS).where(NETWORKS.c.id == second).values(segmentation_id=value))

    set_segment(taken)
    return Planted(lambda: set_segment(before), segment=f"vxlan {taken}")


def unclaimed_segment(garden: Garden) -> Planted:
    network = garden.network()
    garden.execute("network", delete(SEGMENTS).where(SEGMENTS.c.network_id == network))
    return Planted(network=network)


PLANTS: dict[str, Callable[[Garden], Planted]] = {
    plant.__name__.replace("_", "-"): plant
    for plant in (
        flow_unknown_version, flow_overdue, state_past_deadline, image_past_deadline, port_past_deadline,
        disk_without_row, row_without_disk, disk_without_base, image_file_without_row, image_row_without_file,
        secret_in_log, world_readable_secret, server_without_allocation, allocation_without_server,
        allocation_wrong_size, allocations_over_inventory, quota_usage_wrong, claim_usage_wrong, project_missing,
        port_without_server, floating_ip_without_port, router_port_without_router, dhcp_port_without_service,
        floating_port_without_floating_ip, duplicate_ip, duplicate_mac, duplicate_segment, unclaimed_segment,
    )
}  # fmt: skip
