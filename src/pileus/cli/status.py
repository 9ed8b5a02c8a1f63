"""`pileus status`: what runs, and whether it is well."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pileus.cli import daemon, doctor, up
from pileus.cli.api import Api
from pileus.cli.layout import Layout


def status(layout: Layout) -> int:
    """Print the process, the agents and the guests; 1 when the cloud does not run or something in it is down."""
    pid = daemon.holder_pid(layout)
    if pid is None:
        print(f"The cloud in {layout.state_dir} does not run.")
        return 1
    print(f"process   {pid}, up {_uptime_s(pid):.0f} s, {memory_pss_mib(pid):.0f} MiB, {_cpu_s(pid):.1f} CPU s")
    print(f"API       {layout.node.url}   log {layout.log_file}")
    if not daemon.answers(layout):
        print("The API does not answer.")
        return 1
    api = Api(layout.node.url)
    login = up.admin(layout)
    api.log_in(login.username, login.password, login.project)
    lines = [*_compute_services(api), *_network_agents(api)]
    for name, host, alive in lines:
        print(f"{'up  ' if alive else 'DOWN'}      {name} on {host}")
    for host in api.get("/compute/v2.1/os-hypervisors/detail")["hypervisors"]:
        print(f"host      {host['hypervisor_hostname']}: {host['hypervisor_type']}, {host['state']}")
    if (how := doctor.acceleration(layout)) is not None:
        print("guests    " + ("run on KVM" if how.kind == "kvm" else f"are emulated: {how.reason}"))
    counts: dict[str, int] = {}
    for server in api.get("/compute/v2.1/servers/detail", all_tenants=1)["servers"]:
        counts[server["status"]] = counts.get(server["status"], 0) + 1
    print("servers   " + (", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"))
    return 0 if all(alive for _, _, alive in lines) else 1


def _compute_services(api: Api) -> list[tuple[str, str, bool]]:
    services = api.get("/compute/v2.1/os-services")["services"]
    return [(service["binary"], service["host"], service["state"] == "up") for service in services]


def _network_agents(api: Api) -> list[tuple[str, str, bool]]:
    return [(agent["binary"], agent["host"], agent["alive"]) for agent in api.get("/network/v2.0/agents")["agents"]]


def memory_pss_mib(pid: int) -> float:
    """Proportional set size of a process: its own pages and its share of shared ones, in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _uptime_s(pid: int) -> float:
    started = int(_stat(pid)[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    # The command's name may hold blanks; what follows its closing bracket does not.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
