"""Corruptions of a real host, one per finding that needs one: devices, rules, namespaces, DHCP, guests.

They are planted while the cloud is down: running agents would put most of them right before anybody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from pileus.services.compute.drivers.hypervisor.interface import DiskDefinition, GuestDefinition, instance_name
from pileus.services.network.drivers.ownership import Ownership
from tests.scenario.cloud.installation import Installation, run, wait_for

CLOUD = "journey"
ID_CHARS = 11


class Planted:
    """resources: what the finding must name. undo: takes away what is no finding any more and no part of the cloud."""

    def __init__(self, undo: Callable[[], object] = lambda: None, **resources: str) -> None:
        self.undo = undo
        self.resources = resources


class Site:
    """A cloud that is down, with its host and its server `first`, which runs on."""

    def __init__(self, cloud: Installation, server: str) -> None:
        self.cloud, self.server = cloud, server
        self.alias, self.tag = Ownership(CLOUD).alias, Ownership(CLOUD).tag

    def rows(self, service: str, query: str, *values: str) -> list[tuple]:
        """Run a statement in a service's database."""
        with contextlib.closing(sqlite3.connect(self.cloud.state / "db" / f"{service}.sqlite")) as database, database:
            return database.execute(query, values).fetchall()

    def one(self, service: str, query: str, *values: str) -> str:
        return str(self.rows(service, query, *values)[0][0])

    @property
    def port(self) -> str:
        return self.one("network", "SELECT id FROM ports WHERE device_id = ?", self.server)

    @property
    def tap(self) -> str:
        return f"tap{self.port[:ID_CHARS]}"

    @property
    def network(self) -> str:
        return self.one("network", "SELECT network_id FROM ports WHERE device_id = ?", self.server)

    @property
    def external(self) -> str:
        return self.one("network", "SELECT id FROM networks WHERE external")

    @property
    def router(self) -> str:
        return self.one("network", "SELECT id FROM routers")

    @property
    def dhcp_dir(self) -> Path:
        return Path(f"/run/pileus/{CLOUD}/dhcp")


def ip(*arguments: str) -> None:
    run("ip", *arguments)


# -- devices ---------------------------------------------------------------------------------------------------------


def tap_without_port(site: Site) -> Planted:
    for name, alias in (("tapdeadbeef", f"pileus-server:{CLOUD}:{uuid.uuid4()}"), ("tapforeign", "pileus-server:x:y")):
        ip("tuntap", "add", "dev", name, "mode", "tap")
        ip("link", "set", "dev", name, "alias", alias)
    return Planted(device="tapdeadbeef")


def port_not_wired(site: Site) -> Planted:
    ip("link", "set", "dev", site.tap, "nomaster")
    return Planted(port=site.port)


def bridge_without_network(site: Site) -> Planted:
    for name, alias in (("brqdeadbeef", f"{site.alias} zone=77"), ("brqforeign", "pileus:x zone=78")):
        ip("link", "add", "name", name, "type", "bridge")
        ip("link", "set", "dev", name, "alias", alias)
    return Planted(device="brqdeadbeef")


def network_without_bridge(site: Site) -> Planted:
    ip("link", "delete", "dev", f"brq{site.network[:ID_CHARS]}")
    return Planted(network=site.network)


def vxlan_without_network(site: Site) -> Planted:
    ip("link", "add", "name", "vxlan-99", "type", "vxlan", "id", "99", "dstport", "4789", "local", "127.0.0.1")
    ip("link", "set", "dev", "vxlan-99", "alias", site.alias)
    return Planted(device="vxlan-99")


def network_without_vxlan(site: Site) -> Planted:
    vni = site.one("network", "SELECT segmentation_id FROM networks WHERE id = ?", site.network)
    ip("link", "delete", "dev", f"vxlan-{vni}")
    return Planted(network=site.network)


def uplink_without_network(site: Site) -> Planted:
    ip("link", "add", "name", "phydeadbeef", "type", "veth", "peer", "name", "phbdeadbeef")
    ip("link", "set", "dev", "phydeadbeef", "alias", site.alias)
    return Planted(device="phydeadbeef")


def network_without_uplink(site: Site) -> Planted:
    ip("link", "delete", "dev", f"phy{site.external[:ID_CHARS]}")
    return Planted(network=site.external)


def port_without_tap(site: Site) -> Planted:
    ip("link", "delete", "dev", site.tap)
    return Planted(port=site.port, server=site.server)


# -- rules -----------------------------------------------------------------------------------------------------------


def rules_without_port(site: Site) -> Planted:
    run("iptables", "-N", f"{site.tag}-i-deadbeef-00")
    return Planted(rules="deadbeef-00")


def port_without_rules(site: Site) -> Planted:
    run("ip6tables", "-F", f"{site.tag}-o-{site.port[:ID_CHARS]}")
    return Planted(port=site.port)


def rules_out_of_reach(site: Site) -> Planted:
    run("iptables", "-D", "FORWARD", "-j", f"{site.tag}-forward")
    return Planted(chain=f"{site.tag}-forward", family="ipv4")


def router_without_rules(site: Site) -> Planted:
    ip("netns", "exec", f"qrouter-{site.router}", "iptables", "-t", "nat", "-F")
    return Planted(router=site.router)


# -- namespaces and DHCP ---------------------------------------------------------------------------------------------


def _namespace(name: str, alias: str) -> None:
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "dev", "lo", "alias", alias)


def router_namespace_without_router(site: Site) -> Planted:
    name = f"qrouter-{uuid.uuid4()}"
    _namespace(name, site.alias)
    _namespace(f"qrouter-{uuid.uuid4()}", "somebody else's")
    return Planted(namespace=name)


def router_without_namespace(site: Site) -> Planted:
    ip("netns", "delete", f"qrouter-{site.router}")
    wait_for("the ports' end", lambda: not _outer_ends(site.router, site))
    return Planted(router=site.router)


def _outer_ends(router: str, site: Site) -> list[str]:
    ports = site.rows("network", "SELECT port_id FROM router_ports WHERE router_id = ?", router)
    links = run("ip", "-o", "link").stdout
    return [port for (port,) in ports if f"tap{port[:ID_CHARS]}" in links]


def dhcp_namespace_without_network(site: Site) -> Planted:
    name = f"qdhcp-{uuid.uuid4()}"
    _namespace(name, site.alias)
    return Planted(namespace=name)


def network_without_dhcp_namespace(site: Site) -> Planted:
    ip("netns", "delete", f"qdhcp-{site.network}")
    return Planted(network=site.network)


def dnsmasq_without_network(site: Site) -> Planted:
    network = str(uuid.uuid4())
    (site.dhcp_dir / network).mkdir()
    (site.dhcp_dir / network / "hosts").write_text("fa:16:3e:00:00:01,gone,10.9.9.9\n")
    return Planted(network=network)


def network_without_dnsmasq(site: Site) -> Planted:
    pid = int((site.dhcp_dir / site.network / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not Path(f"/proc/{pid}").exists() or "Z" in _state(pid))
    return Planted(network=site.network)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def lease_without_port(site: Site) -> Planted:
    """A real lease of a guest that is gone: of a MAC that gets one, and then has no port any more."""
    hosts, mac, address = site.dhcp_dir / site.network / "hosts", "fa:16:3e:99:99:99", "10.0.0.199"
    before = hosts.read_text()
    pid = int((site.dhcp_dir / site.network / "pid").read_text())
    hosts.write_text(f"{before}{mac},guest-gone,{address}\n")
    os.kill(pid, signal.SIGHUP)
    _ask_for_a_lease(site, mac)
    leases = site.dhcp_dir / site.network / "leases"
    wait_for("the lease", lambda: address in leases.read_text())
    hosts.write_text(before)
    os.kill(pid, signal.SIGHUP)
    return Planted(mac=mac, ip=address, network=site.network)


def _ask_for_a_lease(site: Site, mac: str) -> None:
    bridge = f"brq{site.network[:ID_CHARS]}"
    ip("link", "add", "name", "lease0", "type", "veth", "peer", "name", "lease1", "address", mac)
    for name in ("lease0", "lease1"):
        ip("link", "set", "dev", name, "up")
    ip("link", "set", "dev", "lease0", "master", bridge)
    script = "/bin/true"  # the address is not needed, only the lease
    try:
        run("busybox", "udhcpc", "-i", "lease1", "-n", "-q", "-f", "-t", "10", "-T", "1", "-s", script)
    finally:
        ip("link", "delete", "dev", "lease0")


def port_without_lease(site: Site) -> Planted:
    hosts = site.dhcp_dir / site.network / "hosts"
    mac = site.one("network", "SELECT mac_address FROM ports WHERE id = ?", site.port)
    hosts.write_text("".join(f"{line}\n" for line in hosts.read_text().splitlines() if not line.startswith(mac)))
    return Planted(port=site.port)


# -- guests ----------------------------------------------------------------------------------------------------------


def _stray_guest(site: Site, server: str, *, running: bool) -> None:
    """A small guest of this cloud, with its disk elsewhere than where servers have theirs."""
    from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor

    directory = site.cloud.state.parent / "stray"
    directory.mkdir(exist_ok=True)
    disk = directory / f"{server}.raw"
    disk.write_bytes(bytes(2**20))
    definition = GuestDefinition(
        server_id=server, generation=1, title="stray", vcpus=1, ram_mib=64, console_log=directory / "console.log",
        disks=(DiskDefinition(disk, "raw", "vda"),),
    )  # fmt: skip

    async def make() -> None:
        hypervisor = LibvirtHypervisor(cloud=CLOUD, state_dir=site.cloud.state / "compute")
        await hypervisor.open()
        await hypervisor.define(definition)
        if running:
            await hypervisor.start(server)
        await hypervisor.close()

    asyncio.run(make())


def guest_without_row(site: Site) -> Planted:
    server = str(uuid.uuid4())
    _stray_guest(site, server, running=True)
    return Planted(server=server)


def guest_on_wrong_host(site: Site) -> Planted:
    """A server like the first one, but on another host."""
    server = str(uuid.uuid4())
    rows = (
        ("compute", "servers", "id"), ("placement", "consumers", "uuid"), ("placement", "allocations", "consumer_uuid"),
    )  # fmt: skip
    for service, table, key in rows:
        columns = [row[1] for row in site.rows(service, f"PRAGMA table_info({table})")]
        copied = ", ".join({key: "?", "host": "'h2'"}.get(name, name) for name in columns)
        site.rows(service, f"INSERT INTO {table} SELECT {copied} FROM {table} WHERE {key} = ?", server, site.server)
    _stray_guest(site, server, running=False)

    def undo() -> None:
        for service, table, key in rows:
            site.rows(service, f"DELETE FROM {table} WHERE {key} = ?", server)

    return Planted(undo, server=server)


def row_without_guest(site: Site) -> Planted:
    run("virsh", "-c", "qemu:///system", "destroy", instance_name(site.server), check=False)
    site.rows("compute", "UPDATE servers SET vm_state = 'active', power_state = 1 WHERE id = ?", site.server)
    return Planted(server=site.server)


def guest_running_though_stopped(site: Site) -> Planted:
    site.rows("compute", "UPDATE servers SET vm_state = 'stopped', power_state = 4 WHERE id = ?", site.server)
    return Planted(server=site.server)


HOST_PLANTS: dict[str, Callable[[Site], Planted]] = {
    plant.__name__.replace("_", "-"): plant
    for plant in (
        tap_without_port, port_not_wired, bridge_without_network, network_without_bridge, vxlan_without_network,
        network_without_vxlan, uplink_without_network, network_without_uplink, rules_without_port, port_without_rules,
        rules_out_of_reach, router_without_rules, router_namespace_without_router, router_without_namespace,
        dhcp_namespace_without_network, network_without_dhcp_namespace, dnsmasq_without_network,
        network_without_dnsmasq, lease_without_port, port_without_lease, guest_without_row, guest_on_wrong_host,
        port_without_tap, guest_running_though_stopped, row_without_guest,
    )
}  # fmt: skip
