"""Everything somebody may remove or spoil on a host by hand, one at a time.

Commands of one line each, run by a shell on the host; names in braces are those of the site (`names_of`). `NS` runs in
the router's namespace, `DN` in that of DHCP.
"""

from __future__ import annotations

from msgspec import Struct

from pileus.services.network.drivers.ownership import Ownership

from .site import Site

NS, DN = "nsenter --net=/run/netns/{router_netns}", "nsenter --net=/run/netns/{dhcp_netns}"


class Damage(Struct, frozen=True):
    """`disturbs`: pings in whose own path the damaged thing is."""

    name: str
    command: str
    disturbs: tuple[str, ...] = ()


L2 = (
    Damage("bridge removed", "ip link del {bridge}"),
    Damage("bridge down", "ip link set {bridge} down"),
    Damage("bridge with another MTU", "ip link set {bridge} mtu 1300"),
    Damage("bridge with spanning tree", "ip link set {bridge} type bridge stp_state 1 forward_delay 1500"),
    Damage("bridge without our mark", "ip link set {bridge} alias ''"),
    Damage("IPv6 on the bridge", "echo 0 >/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6"),
    Damage("vxlan removed", "ip link del {vxlan}"),
    Damage("vxlan out of its bridge", "ip link set {vxlan} nomaster"),
    Damage("vxlan in a foreign bridge", "ip link set {vxlan} master br-ex"),
    Damage("vxlan down", "ip link set {vxlan} down"),
    Damage("vxlan with another MTU", "ip link set {vxlan} mtu 1300"),
    Damage("vxlan without our mark", "ip link set {vxlan} alias ''"),
    Damage("vxlan of another port", "ip link del {vxlan}; ip link add {vxlan} type vxlan id {vni} dstport 4788"
           " local 192.0.2.1; ip link set {vxlan} alias pileus:pileus"),
    Damage("vxlan that does not learn", "ip link set {vxlan} type vxlan id {vni} nolearning"),
    Damage("flood entry removed", "bridge fdb del 00:00:00:00:00:00 dev {vxlan} dst 192.0.2.2"),
    Damage("flood entry too many", "bridge fdb append 00:00:00:00:00:00 dev {vxlan} dst 192.0.2.66"),
    Damage("uplink removed", "ip link del {phy}", ("floating",)),
    Damage("uplink out of its bridge", "ip link set {phy} nomaster", ("floating",)),
    Damage("uplink's far end out of its bridge", "ip link set {phb} nomaster", ("floating",)),
    Damage("uplink's far end down", "ip link set {phb} down", ("floating",)),
    Damage("tap out of its bridge", "ip link set {tap} nomaster"),
    Damage("tap in a foreign bridge", "ip link set {tap} master br-ex"),
    Damage("tap in another network", "ip link set {tap} master {quiet_bridge}"),
    Damage("tap with another MTU", "ip link set {tap} mtu 1300"),
    Damage("tap down", "ip link set {tap} down"),
)  # fmt: skip
RULES = (
    Damage("port's chain emptied", "iptables -F {tag}-i-{port}"),
    Damage("port's jump removed", "iptables -D {tag}-forward -m physdev --physdev-out {tap} --physdev-is-bridged"
           " -j {tag}-i-{port}"),
    Damage("port's chains removed", "iptables -F {tag}-forward; iptables -F {tag}-i-{port};"
           " iptables -X {tag}-i-{port}"),
    Damage("main jump removed", "iptables -D FORWARD -j {tag}-forward"),
    Damage("a rule too many in our chain", "iptables -I {tag}-i-{port} 1 -s 198.51.100.9 -j ACCEPT"),
    Damage("a chain too many under our name", "iptables -N {tag}-x"),
    Damage("zone rule removed", "iptables -t raw -D {tag}-zones -i {bridge} -j CT --zone {zone}"),
    Damage("zone jump removed", "iptables -t raw -D PREROUTING -j {tag}-zones"),
    Damage("guard against host translation removed", "iptables -t nat -F {tag}-nat-in"),
    Damage("IPv6 rules emptied", "ip6tables -F {tag}-forward"),
    Damage("filter table emptied", "iptables -F; iptables -X"),
    Damage("anti-spoofing removed", "nft delete table bridge {tag}"),
    Damage("anti-spoofing of the port emptied", "nft flush chain bridge {tag} from_{port_}"),
    Damage("a rule too many in anti-spoofing", "nft insert rule bridge {tag} forward ip saddr 198.51.100.9 accept"),
    Damage("all rules removed", "nft flush ruleset"),
    Damage("bridged packets not filtered", "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables"),
    Damage("bridged IPv6 not filtered", "echo 0 >/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
)  # fmt: skip
L3 = (
    Damage("router's namespace removed", "ip netns del {router_netns}"),
    Damage("router's namespace without our mark", f"{NS} ip link set lo alias ''"),
    Damage("interface removed", f"{NS} ip link del {{qr}}"),
    Damage("interface's outer end removed", "ip link del {qr_tap}"),
    Damage("interface's outer end renamed", "ip link set {qr_tap} name stolen0"),
    Damage("interface's outer end out of its bridge", "ip link set {qr_tap} nomaster"),
    Damage("interface's outer end down", "ip link set {qr_tap} down"),
    Damage("interface renamed", f"{NS} ip link set {{qr}} down; {NS} ip link set {{qr}} name qr-renamed"),
    Damage("interface down", f"{NS} ip link set {{qr}} down"),
    Damage("interface without address", f"{NS} ip addr flush dev {{qr}} scope global"),
    Damage("interface with an address too many", f"{NS} ip addr add 10.99.0.1/24 dev {{qr}}"),
    Damage("interface with another prefix", f"{NS} ip addr del 10.0.0.1/24 dev {{qr}};"
           f" {NS} ip addr add 10.0.0.1/16 dev {{qr}}"),
    Damage("interface with another MAC", f"{NS} ip link set {{qr}} address 02:00:00:00:00:77"),
    Damage("interface with another MTU", f"{NS} ip link set {{qr}} mtu 1300"),
    Damage("a device too many", f"{NS} ip link add qr-stray type veth peer name qr-stray2"),
    Damage("gateway device removed", f"{NS} ip link del {{qg}}"),
    Damage("floating address removed", f"{NS} ip addr del 203.0.113.100/32 dev {{qg}}"),
    Damage("default route removed", f"{NS} ip route del default"),
    Damage("default route to somewhere else", f"{NS} ip route replace default via 203.0.113.99"),
    Damage("a route too many", f"{NS} ip route add 198.51.100.0/24 via 203.0.113.99"),
    Damage("a black hole", f"{NS} ip route add blackhole 198.51.100.0/24"),
    Damage("translation emptied", f"{NS} iptables -t nat -F"),
    Damage("floating address not translated", f"{NS} iptables -t nat -D PREROUTING 2"),
    Damage("metadata redirection removed", f"{NS} iptables -t nat -D PREROUTING 1"),
    Damage("mark removed", f"{NS} iptables -t mangle -F"),
    Damage("a rule that drops all", f"{NS} iptables -I FORWARD 1 -j DROP"),
    Damage("a policy that drops all", f"{NS} iptables -P FORWARD DROP"),
    Damage("forwarding off", f"{NS} sysctl -qw net.ipv4.ip_forward=0"),
    Damage("forwarding off on the interface", f"{NS} sysctl -qw net.ipv4.conf.{{qr}}.forwarding=0"),
    Damage("strict return path", f"{NS} sysctl -qw net.ipv4.conf.{{qr}}.rp_filter=1"),
    Damage("strict return path for all", f"{NS} sysctl -qw net.ipv4.conf.all.rp_filter=1"),
)  # fmt: skip
DHCP = (
    Damage("DHCP's namespace removed", "ip netns del {dhcp_netns}"),
    Damage("DHCP's port removed", f"{DN} ip link del {{ns}}"),
    Damage("DHCP's outer end removed", "ip link del {ns_tap}"),
    Damage("DHCP's outer end out of its bridge", "ip link set {ns_tap} nomaster"),
    Damage("DHCP's port without addresses", f"{DN} ip addr flush dev {{ns}} scope global"),
    Damage("metadata's address removed", f"{DN} ip addr del 169.254.169.254/32 dev {{ns}}"),
    Damage("DHCP's port down", f"{DN} ip link set {{ns}} down"),
    Damage("dnsmasq killed", "kill -9 $(cat {dhcp_dir}/pid)"),
    Damage("dnsmasq stopped", "kill -STOP $(cat {dhcp_dir}/pid)"),
    Damage("host file removed", "rm {dhcp_dir}/hosts"),
    Damage("host file changed", "echo 02:00:00:00:00:01,10.0.0.77 >>{dhcp_dir}/hosts"),
    Damage("option file emptied", ": >{dhcp_dir}/options"),
    Damage("lease file removed", "rm {dhcp_dir}/leases"),
    Damage("pid file removed", "rm {dhcp_dir}/pid"),
    Damage("all its files removed", "rm -r {dhcp_dir}"),
)  # fmt: skip
ALL = (*L2, *RULES, *L3, *DHCP)


def names_of(site: Site) -> dict[str, str]:
    """What the commands call things."""
    port, external = site.a.port, site.plane.external.id[:11]
    zone = site.host.links()[site.bridge]["ifalias"].rpartition("zone=")[2]
    return {
        "bridge": site.bridge, "vxlan": f"vxlan-{site.network.segmentation_id}",
        "vni": str(site.network.segmentation_id), "zone": zone, "phy": f"phy{external}", "phb": f"phb{external}",
        "tap": port.device_name, "port": port.id[:11], "port_": port.id[:11].replace("-", "_"),
        "quiet_bridge": f"brq{site.c.port.network_id[:11]}", "tag": Ownership("pileus").tag,
        "router_netns": site.router_netns, "qr": site.router_port, "qg": site.gateway_port,
        "qr_tap": site.router_port.replace("qr-", "tap"), "dhcp_netns": site.dhcp_netns, "ns": site.dhcp_port,
        "ns_tap": site.dhcp_port.replace("ns-", "tap"), "dhcp_dir": site.dhcp_dir,
    }  # fmt: skip


def inflict(site: Site, damage: Damage) -> None:
    """Do it; fails if a command fails."""
    command = damage.command.format(**names_of(site))
    done = site.host.run("sh", "-ec", command, check=False)
    assert done.returncode == 0, f"{damage.name}: {command}: {done.stderr}"
