"""Two sides of one host: what a test damages, and what must not notice.

The damaged side is a network with two guests, DHCP, a router with a gateway and a floating address. The quiet side has
two networks with a router between them, a gateway, a floating address and DHCP; pings run there all the time.
"""

from __future__ import annotations

import signal
from uuid import uuid4

from msgspec.structs import replace

from pileus.services.network.rpc import DhcpNetwork, DhcpSubnet, FloatingIp, HostRouter, bridge_name
from tests.scenario.network_plane.plane import EGRESS_ALL, Guest, Host, Plane, rule, wait_until

from .pings import Ping
from .snapshot import differences, identities, look

OPEN = (*EGRESS_ALL, rule("ingress"))
PASS_S, DETAIL_S = 0.5, 0.5
REPAIR_S = 50.0  # a loaded machine; a quiet one takes about a second
PEERS = ("192.0.2.2", "192.0.2.3")


class Site:
    """See above. `a`, `b` are the guests of the damaged side; `c`, `d`, `e` of the quiet one."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.plane = plane = Plane(host)
        host.add_network(plane.external)
        self.network = host.add_network(replace(plane.network(), peers=PEERS))
        self.a = self._guest(self.network.id, "10.0.0.11")
        self.b = self._guest(self.network.id, "10.0.0.12")
        self.dhcp = self._dhcp(self.network.id, "10.0.0", self.a, self.b)
        self.router = self._router("203.0.113.10", "203.0.113.100", self.a, (self.network.id, "10.0.0.1/24"))
        quiet, other = plane.network(), plane.network()
        self.c, self.d = self._guest(quiet.id, "10.1.0.11"), self._guest(quiet.id, "10.1.0.12")
        self.e = self._guest(other.id, "10.2.0.11")
        self.quiet_dhcp = self._dhcp(quiet.id, "10.1.0", self.c, self.d)
        self.quiet_router = self._router(
            "203.0.113.20", "203.0.113.200", self.c, (quiet.id, "10.1.0.1/24"), (other.id, "10.2.0.1/24")
        )
        self.outsider = plane.outsider()
        for guest, router in ((self.a, self.router), (self.c, self.quiet_router)):
            host.metadata[f"{router.id}/{guest.ip}"] = host.metadata[f"{guest.port.network_id}/{guest.ip}"] = "known"
        self.quiet = {quiet.id, other.id, self.quiet_router.id, quiet.id[:11], other.id[:11]}
        self.quiet |= {port.id[:11] for port in host.ports.values() if port.network_id in (quiet.id, other.id)}
        self.pings: dict[str, Ping] = {}

    def _guest(self, network_id: str, address: str) -> Guest:
        network = self.host.networks[network_id]
        gateway = address.rpartition(".")[0] + ".1"
        return self.host.add_port(network, f"{address}/24", rules=OPEN).plug(gateway=gateway)

    def _dhcp(self, network_id: str, start: str, *guests: Guest) -> DhcpNetwork:
        subnet = DhcpSubnet(id=str(uuid4()), cidr=f"{start}.0/24", gateway_ip=f"{start}.1")
        return self.plane.dhcp(self.host.networks[network_id], subnet, f"{start}.2/24", *guests)

    def _router(self, gateway: str, floating: str, guest: Guest, *interfaces: tuple[str, str]) -> HostRouter:
        inner = [(self.host.networks[network_id], address) for network_id, address in interfaces]
        floating_ip = FloatingIp(
            id=str(uuid4()), floating_ip_address=floating, fixed_ip_address=guest.ip, port_id=guest.port.id
        )
        return self.plane.router(*inner, gateway=f"{gateway}/24", floating_ips=(floating_ip,))

    # life

    def start(self) -> None:
        self.start_agent()
        self.settle()
        self.pings = {
            "bridge": Ping(self.c, self.d.ip),
            "router": Ping(self.c, self.e.ip),
            "floating": Ping(self.outsider, "203.0.113.200"),
        }
        self.forget_losses()
        self.right = self.quietly_right()

    def start_agent(self) -> None:
        (self.host.directory / "reports.json").unlink(missing_ok=True)
        self.host.start_agent(pass_every_s=PASS_S, detail_s=DETAIL_S)

    def have_agent(self) -> None:
        """A test that failed may have left the host without."""
        if self.host.agent is None:
            self.start_agent()

    def stop_agent(self, number: int = signal.SIGTERM) -> None:
        self.host.stop_agent(number)

    def settle(self) -> None:
        """Everything is reported, and all ports forward."""
        self.host.settle_devices(("ports", "routers", "dhcp"))

    def close(self) -> None:
        for ping in self.pings.values():
            ping.close()

    # what is seen

    def quietly_right(self) -> dict[str, object]:
        """The state that two looks in a row agree about."""
        seen = [look(self.host)]

        def is_still() -> bool:
            seen.append(look(self.host))
            return seen[-1] == seen[-2]

        wait_until("the host is calm", is_still, REPAIR_S)
        return seen[-1]

    def wait_repaired(self) -> None:
        """Everything is as it was at the beginning."""
        left: list[str] = []

        def is_repaired() -> bool:
            left[:] = differences(self.right, look(self.host))
            return not left

        try:
            wait_until("repaired", is_repaired, REPAIR_S)
        except AssertionError as error:
            log = (self.host.directory / "agent.log").read_text()[-2000:]
            raise AssertionError("\n".join([str(error), *left[:30], log])) from None

    def identities(self) -> dict[str, str]:
        """Of everything on the quiet side."""
        return identities(self.host, self.quiet)

    def forget_losses(self) -> None:
        for ping in self.pings.values():
            ping.forget()

    def losses(self, *disturbed: str) -> dict[str, list[int]]:
        """Lost packets by ping, but for the disturbed ones."""
        found = {name: ping.lost() for name, ping in self.pings.items() if name not in disturbed}
        return {name: lost for name, lost in found.items() if lost}

    # names

    @property
    def bridge(self) -> str:
        return bridge_name(self.network.id)

    @property
    def router_netns(self) -> str:
        return f"qrouter-{self.router.id}"

    @property
    def dhcp_netns(self) -> str:
        return f"qdhcp-{self.network.id}"

    @property
    def dhcp_dir(self) -> str:
        return f"/run/dhcp/{self.network.id}"

    @property
    def router_port(self) -> str:
        """The router's device in the damaged network (inside, `qr-`); outside it is `tap` and the same."""
        return f"qr-{self.router.interfaces[0].port_id[:11]}"

    @property
    def gateway_port(self) -> str:
        assert self.router.gateway is not None
        return f"qg-{self.router.gateway.port_id[:11]}"

    @property
    def dhcp_port(self) -> str:
        return f"ns-{self.dhcp.port_id[:11]}"

    def in_netns(self, name: str, *argv: str) -> str:
        return self.host.run("nsenter", f"--net=/run/netns/{name}", *argv).stdout
