"""What dnsmasq reads, as text."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pileus.services.network.drivers.dhcp.dnsmasq.driver import _without_conflicts
from pileus.services.network.drivers.dhcp.dnsmasq.files import (
    Paths,
    classless_routes,
    command_line,
    known_options,
    render_files,
)
from pileus.services.network.rpc import DhcpHost, DhcpNetwork, DhcpOption, DhcpSubnet, FixedIp, HostRoute

KNOWN = frozenset({"bootfile-name", "mtu"})
SUBNET = DhcpSubnet(id="s", cidr="10.0.0.0/24", gateway_ip="10.0.0.1")


def network(*hosts: DhcpHost, subnet: DhcpSubnet = SUBNET, **changes: object) -> DhcpNetwork:
    values: dict[str, object] = {
        "id": "n", "port_id": "p", "mac_address": "fa:16:3e:00:00:01", "mtu": 1450,
        "fixed_ips": (FixedIp("10.0.0.2", 24),), "subnets": (subnet,), "hosts": hosts,
    }  # fmt: skip
    return DhcpNetwork(**(values | changes))  # type: ignore[arg-type]


def host(*options: DhcpOption, **changes: object) -> DhcpHost:
    values: dict[str, object] = {
        "port_id": "h", "mac_address": "fa:16:3e:00:00:05", "fixed_ips": (FixedIp("10.0.0.5", 24),),
        "hostname": "vm", "extra_options": options,
    }  # fmt: skip
    return DhcpHost(**(values | changes))  # type: ignore[arg-type]


def test_hosts_names_and_options() -> None:
    files = render_files(network(host(DhcpOption("bootfile-name", "a.0")), dns_domain="cloud.example"), KNOWN, KNOWN)
    assert files.hosts == "fa:16:3e:00:00:05,set:port-h,vm,10.0.0.5\n"
    assert files.names == "10.0.0.5 vm.cloud.example vm\n"
    assert files.options.splitlines() == [
        "tag:subnet-s,option:dns-server,10.0.0.2",
        "tag:subnet-s,option:router,10.0.0.1",
        "tag:subnet-s,121,169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1",
        "tag:subnet-s,249,169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1",
        "tag:subnet-s,option:mtu,1450",
        "tag:port-h,option:bootfile-name,a.0",
    ]


def test_a_subnet_without_gateway_names_none() -> None:
    subnet = DhcpSubnet(id="s", cidr="10.0.0.0/24")
    assert "tag:subnet-s,option:router\n" in render_files(network(subnet=subnet, metadata=False), KNOWN, KNOWN).options
    assert classless_routes(network(subnet=subnet), subnet) == [("169.254.169.254/32", "10.0.0.2")]


def test_host_routes_to_everything_replace_the_default_route() -> None:
    routes = (HostRoute("0.0.0.0/0", "10.0.0.7"),)
    subnet = DhcpSubnet(id="s", cidr="10.0.0.0/24", gateway_ip="10.0.0.1", host_routes=routes)
    assert ("0.0.0.0/0", "10.0.0.1") not in classless_routes(network(subnet=subnet), subnet)


def test_subnets_without_dhcp_have_no_range_and_no_hosts() -> None:
    subnet = DhcpSubnet(id="s", cidr="10.0.0.0/24", enable_dhcp=False)
    argv = command_line(network(subnet=subnet), "ns-p", Paths(Path("/d")), "nobody")
    assert not [argument for argument in argv if argument.startswith("--dhcp-range")]
    assert render_files(network(host(), subnet=subnet), KNOWN, KNOWN).hosts == ""


def test_a_hostile_domain_never_reaches_the_command_line() -> None:
    argv = command_line(network(dns_domain="x/1.2.3.4#"), "ns-p", Paths(Path("/d")), "nobody")
    assert not [argument for argument in argv if "1.2.3.4" in argument]


@given(name=st.text(max_size=40), value=st.text(max_size=300), hostname=st.text(max_size=70), mac=st.text(max_size=20),
       domain=st.text(max_size=40))  # fmt: skip
def test_no_input_adds_a_line_or_a_field(name: str, value: str, hostname: str, mac: str, domain: str) -> None:
    hostile = host(DhcpOption(name, value), hostname=hostname)
    files = render_files(network(hostile, host(port_id="i", mac_address=mac), dns_domain=domain), KNOWN, KNOWN)
    assert all(line.count(",") in (2, 3) for line in files.hosts.splitlines())
    assert len(files.options.splitlines()) <= 6
    assert all(line.startswith(("tag:subnet-s,", "tag:port-h,option:")) for line in files.options.splitlines())
    assert len(files.names.splitlines()) <= 2


def test_option_names_come_from_dnsmasq_itself() -> None:
    assert known_options("Known DHCP options:\n  1 netmask\n 67 bootfile-name\n") == {"netmask", "bootfile-name"}


def test_leases_of_former_owners_are_found() -> None:
    leases = "100 fa:16:3e:00:00:04 10.0.0.5 vm *\n100 fa:16:3e:00:00:06 10.0.0.6 vm *\nduid 00:01\n"
    assert _without_conflicts(leases, "fa:16:3e:00:00:05,vm,10.0.0.5\n") == "".join(leases.splitlines(True)[1:])
    assert _without_conflicts(leases, "fa:16:3e:00:00:04,vm,10.0.0.5\n") is None
