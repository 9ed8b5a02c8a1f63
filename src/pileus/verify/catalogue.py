"""Every finding that there is: its name, what it means, what must have been read to see it, its check, its repair.

The order is that of the report and of repairs: what runs before what it runs on, what leads somewhere before where it
leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from pileus.verify.checks import (
    addresses,
    allocations,
    deadlines,
    devices,
    disks,
    guests,
    images,
    leases,
    namespaces,
    ports,
    rules,
    secrecy,
    usage,
)
from pileus.verify.evidence.whole import HOST_PARTS, Evidence, each_host
from pileus.verify.finding import Difference, Finding
from pileus.verify.repairs import claims, flows, servers, wires
from pileus.verify.repairs import guests as guest_repairs
from pileus.verify.repairs import images as image_repairs
from pileus.verify.repairs import ports as port_repairs
from pileus.verify.repairs import secrecy as secrecy_repairs
from pileus.verify.repairs.repair import Repair

AGENTS_NOTICE_S = 12.0
"""Agents look after their hosts at least that often: what they put right by themselves is no finding before."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A finding's entry. needs: parts of the evidence. notice_s: how long the cloud itself may take to put it right;
    it must stand for longer than that to count."""

    name: str
    sentence: str
    needs: tuple[str, ...]
    check: Callable[[Evidence], Iterator[Difference]]
    repair: Repair
    notice_s: float = 0.0


def findings(evidence: Evidence) -> list[Finding]:
    """All that can be seen in the evidence, in the catalogue's order."""
    found: list[Finding] = []
    for kind in KINDS:
        looks = each_host(evidence) if HOST_PARTS.intersection(kind.needs) else [evidence]
        for look in looks:
            if all(look.has(part) for part in kind.needs):
                found += [Finding(name=kind.name, **msgspec.structs.asdict(item)) for item in kind.check(look)]
    return found


def _kind(
    name: str, needs: str, check: Callable[[Evidence], Iterator[Difference]], sentence: str, repair: Repair, *,
    by_agents: bool = False,
) -> Kind:  # fmt: skip
    notice_s = AGENTS_NOTICE_S if by_agents else 0.0
    return Kind(
        name=name, needs=tuple(needs.split()), check=check, sentence=sentence, repair=repair, notice_s=notice_s
    )


_L2 = Repair("have the L2 agent's driver put the host's bridges, taps and rules right", wires.converge_l2)
_L3 = Repair("have the L3 agent's driver put the host's routers right", wires.converge_l3)
_DHCP = Repair("have the DHCP agent's driver put the host's DHCP right", wires.converge_dhcp)
_DELETE_PORT = Repair("delete the port", port_repairs.delete)
_CLAIM = Repair("claim what the flavor says, on the server's host", claims.claim)
_HOST = "compute guests processes"
_WIRES = "network desired kernel"

KINDS: tuple[Kind, ...] = (
    _kind("flow-unknown-version", "", deadlines.flow_unknown, "a flow that this code cannot run",
          Repair("end the flow; what it leaves is found then", flows.abandon)),
    _kind("flow-overdue", "", deadlines.flow_overdue, "a flow that should have ended",
          Repair("take the flow from whoever holds it, so that a conductor undoes it now", flows.hurry)),
    _kind("state-past-deadline", "compute", deadlines.server_stuck, "a server on its way to nowhere",
          Repair("end it with a fault, as its flow would have", servers.give_up)),
    _kind("image-past-deadline", "image", deadlines.image_stuck, "an upload that is dead",
          Repair("have the image wait for data again", image_repairs.abandon_upload)),
    _kind("port-past-deadline", "compute network", deadlines.port_stuck, "a port that does not come up",
          Repair("have the agents of its host look again", port_repairs.ask_agents)),
    _kind("guest-without-row", _HOST, guests.without_row, "a guest that belongs to no server",
          Repair("end the guest and forget it", guest_repairs.end, on_host=True)),
    _kind("guest-on-wrong-host", _HOST, guests.on_wrong_host, "a guest whose server is elsewhere",
          Repair("end the guest here and forget it", guest_repairs.end, on_host=True)),
    _kind("row-without-guest", _HOST, guests.missing, "an ACTIVE server that does not run",
          Repair("say that the server is SHUTOFF; its owner can start it", servers.stop), by_agents=True),
    _kind("guest-running-though-stopped", _HOST, guests.running_though_stopped, "a SHUTOFF server that runs",
          Repair("power the guest off", guest_repairs.power_off, on_host=True), by_agents=True),
    _kind("disk-without-row", "compute disks", disks.without_row, "files of a server that is not here",
          Repair("remove the directory", guest_repairs.remove_directory, on_host=True)),
    _kind("row-without-disk", "compute disks", disks.missing, "a server without its disk",
          Repair("say that the server is in ERROR: its disk is gone", servers.give_up_disk)),
    _kind("disk-without-base", "compute disks", disks.base_missing, "a disk without the image under it",
          Repair("bring the file back from another host, or delete the server: openstack server delete ID")),
    _kind("server-without-allocation", "compute placement", allocations.missing, "a server that claims nothing",
          _CLAIM),
    _kind("allocation-without-server", "compute placement", allocations.without_server, "a claim for nobody",
          Repair("give the claim back", claims.release)),
    _kind("allocation-wrong-size", "compute placement", allocations.wrong_size, "a claim that is not its server's need",
          _CLAIM),
    _kind("allocations-over-inventory", "placement", allocations.over_inventory, "more given out than there is",
          Repair("see who has it (openstack resource provider show --allocations ID); move or delete servers")),
    _kind("quota-usage-wrong", "compute", usage.server_counted_wrong, "a server that counts wrongly",
          Repair("have it count as its flavor says", servers.recount)),
    _kind("claim-usage-wrong", "compute placement", usage.claim_booked_wrong, "a claim booked to another",
          Repair("book the claim to the server's project and user", claims.book)),
    _kind("project-missing", "identity", usage.project_missing, "resources of a project that is gone",
          Repair("list them (openstack server list --all-projects --project ID, and so on) and delete them")),
    _kind("port-without-server", "compute network", ports.without_server, "a port of a server that is gone",
          Repair("delete the port, or hand it back if its user made it", port_repairs.give_back)),
    _kind("floating-ip-without-port", "network", ports.floating_ip_without_port, "a floating IP that leads nowhere",
          Repair("have it lead nowhere; its owner keeps it", port_repairs.lead_nowhere)),
    _kind("router-port-without-router", "network", ports.router_port_without_router, "a router's port without a router",
          _DELETE_PORT),
    _kind("dhcp-port-without-service", "network", ports.dhcp_port_without_service, "a DHCP port that nobody uses",
          _DELETE_PORT),
    _kind("floating-port-without-floating-ip", "network", ports.floating_port_without_floating_ip,
          "a floating IP's port without one",
          _DELETE_PORT),
    _kind("duplicate-ip", "network", addresses.duplicate_ip, "an address that two have",
          Repair("take it from one: openstack port unset --fixed-ip ip-address=IP PORT; floating ip delete ID")),
    _kind("duplicate-mac", "network", addresses.duplicate_mac, "a MAC that two have",
          Repair("give one another, while it is unbound: openstack port set --mac-address MAC PORT")),
    _kind("duplicate-segment", "network", addresses.duplicate_segment, "a segment that two networks use",
          Repair("move the servers of one network to a new one, then openstack network delete ID")),
    _kind("unclaimed-segment", "network", addresses.unclaimed_segment, "a segment not reserved for its network",
          Repair("reserve it, unless another network has it", port_repairs.claim_segment)),
    _kind("tap-without-port", _WIRES, devices.tap_without_port, "a tap that belongs to no port",
          Repair("remove the device", guest_repairs.remove_device, on_host=True), by_agents=True),
    _kind("port-without-tap", "compute " + _WIRES, devices.port_without_tap, "a port without its tap",
          Repair("restart the guest: its tap is made at its start", wires.restart_guest), by_agents=True),
    _kind("port-not-wired", _WIRES, devices.port_not_wired, "a tap outside its bridge",
          _L2, by_agents=True),
    _kind("rules-without-port", _WIRES, rules.without_port, "rules that belong to no port",
          _L2, by_agents=True),
    _kind("port-without-rules", _WIRES, rules.port_without_rules, "a port without its rules",
          _L2, by_agents=True),
    _kind("rules-out-of-reach", _WIRES, rules.jump_missing, "rules that no packet meets",
          _L2, by_agents=True),
    _kind("network-without-bridge", _WIRES, devices.network_without_bridge, "a network without its bridge",
          _L2, by_agents=True),
    _kind("network-without-vxlan", _WIRES, devices.network_without_vxlan, "a network without its tunnel",
          _L2, by_agents=True),
    _kind("network-without-uplink", _WIRES, devices.network_without_uplink, "a network without its uplink",
          _L2, by_agents=True),
    _kind("vxlan-without-network", _WIRES, devices.vxlan_without_network, "a tunnel of no network",
          _L2, by_agents=True),
    _kind("uplink-without-network", _WIRES, devices.uplink_without_network, "an uplink of no network",
          _L2, by_agents=True),
    _kind("bridge-without-network", _WIRES, devices.bridge_without_network, "a bridge of no network",
          _L2, by_agents=True),
    _kind("router-namespace-without-router", _WIRES, namespaces.router_without_row, "a namespace of no router",
          _L3, by_agents=True),
    _kind("router-without-namespace", _WIRES, namespaces.router_without_namespace, "a router that does not route",
          _L3, by_agents=True),
    _kind("router-without-rules", _WIRES, rules.router_without_rules, "a router that translates wrongly",
          _L3, by_agents=True),
    _kind("dhcp-namespace-without-network", _WIRES, namespaces.dhcp_without_network, "a DHCP namespace of no network",
          _DHCP, by_agents=True),
    _kind("network-without-dhcp-namespace", _WIRES, namespaces.network_without_dhcp, "DHCP without its namespace",
          _DHCP, by_agents=True),
    _kind("dnsmasq-without-network", "network desired dhcp", namespaces.dnsmasq_without_network,
          "a dnsmasq of no network",
          _DHCP, by_agents=True),
    _kind("network-without-dnsmasq", "network desired dhcp", namespaces.network_without_dnsmasq,
          "a network whose DHCP does not answer",
          _DHCP, by_agents=True),
    _kind("lease-without-port", "network desired dhcp", leases.without_port, "a lease that belongs to no port",
          _DHCP, by_agents=True),
    _kind("port-without-lease", "network desired dhcp", leases.port_without_lease, "an address that DHCP does not know",
          _DHCP, by_agents=True),
    _kind("image-file-without-row", "image objects", images.file_without_row, "bytes of no image",
          Repair("remove the bytes", image_repairs.remove_object, on_host=True)),
    _kind("image-row-without-file", "image objects", images.row_without_file, "an image without its bytes",
          Repair("have the image wait for data again", image_repairs.forget_bytes, on_host=True)),
    _kind("secret-in-log", "leaks", secrecy.in_log, "a secret in a log",
          Repair("write over it in the log; then change it: it may be known", secrecy_repairs.blacken, on_host=True)),
    _kind("world-readable-secret", "exposed", secrecy.world_readable, "a secret that everybody can read",
          Repair("take the right to read from others", secrecy_repairs.close, on_host=True)),
)  # fmt: skip

BY_NAME = {kind.name: kind for kind in KINDS}
