"""Tools that hang, and tools that tell only half: a fault for what they were asked, nothing lost for others."""

from __future__ import annotations

import shutil
from pathlib import Path

from msgspec.structs import replace

from pileus.services.network.rpc import FloatingIp
from tests.scenario.network_plane.plane import EGRESS_ALL, wait_until

from .site import DETAIL_S, OPEN, PASS_S, REPAIR_S, Site
from .snapshot import differences, identities, look

HANGING = """#!/bin/sh
# hangs for what the file beside it names
[ -e {directory}/about ] && echo "$*" | grep -qF "$(cat {directory}/about)" && exec sleep 600
exec {real} "$@"
"""
INTERRUPTED = """#!/bin/sh
# now and then tells of the loopback only, with iproute2's warning and a good exit code
case "$*" in *"link show"*) if [ $(($(date +%N | sed 's/^0*//') / 1000 % 3)) != 0 ]; then
  echo x >>{directory}/told
  echo 'Dump was interrupted and may be inconsistent.' >&2
  {real} "$@" | sed 's/^\\(\\[{{[^[]*"ifname":"lo".*\\)$/\\1/; s/,{{"ifindex".*/]/'; exit 0; fi;;
esac
exec {real} "$@"
"""


def tool(directory: Path, name: str, script: str) -> Path:
    directory.mkdir()
    path = directory / name
    path.write_text(script.format(directory=directory, real=shutil.which(name)))
    path.chmod(0o755)
    return directory


def restart_with(site: Site, tools: Path | None) -> None:
    site.stop_agent()
    (site.host.directory / "reports.json").unlink(missing_ok=True)
    site.host.start_agent(pass_every_s=PASS_S, detail_s=DETAIL_S, tools=tools)


def test_half_a_listing_is_not_believed(site: Site, tmp_path: Path) -> None:
    site.have_agent()
    site.forget_losses()
    before = identities(site.host, {""})
    tools = tool(tmp_path / "tools", "ip", INTERRUPTED)
    restart_with(site, tools)
    told = tools / "told"
    wait_until("many half listings", lambda: told.exists() and len(told.read_text().split()) > 20, REPAIR_S)
    assert identities(site.host, {""}) == before
    assert not differences(site.right, look(site.host))
    restart_with(site, None)
    site.settle()
    assert site.losses() == {}


def test_a_hanging_tool_holds_up_no_other_router(site: Site, tmp_path: Path) -> None:
    site.have_agent()
    host = site.host
    tools = tool(tmp_path / "tools", "ip", HANGING)
    restart_with(site, tools)
    site.settle()
    site.forget_losses()
    (tools / "about").write_text(site.router_netns)
    # Something is wanted of both routers: one gets it although the other hangs.
    wanted = FloatingIp(id="f", floating_ip_address="203.0.113.201", fixed_ip_address=site.d.ip, port_id=site.d.port.id)
    site.plane.change_router(site.router, routes=())
    site.plane.change_router(site.quiet_router, floating_ips=(*site.quiet_router.floating_ips, wanted))
    site.host.publish()
    wait_until("the other router works", lambda: site.outsider.pings("203.0.113.201", wait_s=0.5), REPAIR_S)
    wait_until(
        "the fault is reported",
        lambda: "did not end in time" in host.reports()["routers"].get(site.router.id, {}).get("reason", ""),
        2 * REPAIR_S,
    )
    wait_until("and shown", lambda: host.reports()["beats"]["l3"]["configurations"].get("faults"), REPAIR_S)
    (tools / "about").unlink()
    site.plane.set_routers(replace(site.router), site.quiet_router)
    site.host.publish()
    wait_until("and gone", lambda: host.reports()["routers"][site.router.id]["status"] == "ACTIVE", 2 * REPAIR_S)
    restart_with(site, None)
    site.settle()
    site.wait_repaired()
    assert site.losses() == {}


def test_a_hanging_firewall_tool_is_told_and_disturbs_nobody(site: Site, tmp_path: Path) -> None:
    site.have_agent()
    host = site.host
    tools = tool(tmp_path / "tools", "iptables-restore", HANGING)
    restart_with(site, tools)
    site.settle()
    site.forget_losses()
    (tools / "about").write_text("")  # whatever it is asked
    host.change_port(site.a, security_rules=EGRESS_ALL)
    host.publish()
    wait_until(
        "the fault is shown",
        lambda: "did not end in time" in str(host.reports()["beats"]["l2"]["configurations"].get("faults")),
        2 * REPAIR_S,
    )
    (tools / "about").unlink()
    wait_until("the rules are there", lambda: not site.b.pings(site.a.ip, wait_s=0.5), 2 * REPAIR_S)
    host.change_port(site.a, security_rules=OPEN)
    host.publish()
    wait_until("and gone", lambda: site.b.pings(site.a.ip, wait_s=0.5), REPAIR_S)
    restart_with(site, None)
    site.settle()
    site.wait_repaired()
    assert site.losses() == {}
