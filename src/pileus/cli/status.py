"""`pileus status`: what runs, what it stands on, and whether all of it is well. It never waits long for anything."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pileus.cli import daemon, doctor, engines, processes, systemd, up
from pileus.cli.api import Api, ApiError
from pileus.cli.layout import Layout
from pileus.cli.processes import Process

API_TIMEOUT_S = 5.0


def status(layout: Layout) -> int:
    """Print the host's processes, broker, databases, the cloud's agents and guests; 1 when something is not well."""
    wanted = processes.configured(layout)
    here = daemon.running(layout)
    if not here:
        print(f"The cloud in {layout.state_dir} does not run.")
        return 1
    well = all([_show(process) for process in wanted])
    for name in here.keys() - {process.name for process in wanted}:
        print(f"process   {name} (pid {here[name]}) runs, and the configuration does not name it")
    for report in engines.look(layout):
        print(f"{report.kind:<9} {report.text}" if report.good else f"{report.kind:<9} DOWN {report.text}")
        well = well and report.good
    if not processes.holds_identity(layout):
        return 0 if well else 1
    try:
        return 0 if _cloud(layout) and well else 1
    except (ApiError, OSError) as error:
        print(f"The API does not answer: {error}")
        return 1


def _show(process: Process) -> bool:
    """One process of this host; whether it is well."""
    pid = daemon.holder_pid(process)
    roles = "" if process.roles is None else f"\n          {' '.join(process.roles)}"
    if pid is None:
        print(f"process   DOWN {process.name}: it does not run; log {process.log_file}{roles}")
        return False
    try:
        about = f"up {_uptime_s(pid):.0f} s, {memory_pss_mib(pid):.0f} MiB, {_cpu_s(pid):.1f} CPU s"
    except OSError:  # it has just ended, or is somebody else's
        about = "cannot be looked at"
    serves = daemon.running_pid(process) == pid
    answers = serves and daemon.answers(process)
    name = "" if process.roles is None else f"{process.name}: "
    print(f"process   {'' if answers else 'DOWN '}{name}{pid}, {about}{roles}")
    log = where_it_logs(process, pid)
    where = "          " if process.port is None else f"API       {process.layout.node.local_url}   "
    print(f"{where}log {log}")
    if not serves:
        print("          It is starting.")
    elif not answers:
        print("          The API does not answer.")
    return answers


def where_it_logs(process: Process, pid: int) -> str:
    """The file that a running process writes to, or how to ask the journal when systemd takes its output."""
    try:
        target = os.readlink(f"/proc/{pid}/fd/1")
    except OSError:  # it has just ended, or is somebody else's
        return str(process.log_file)
    if target.startswith("socket:"):
        return f"journalctl -u {systemd.name_of(process)}"
    return target if target.startswith("/") else str(process.log_file)


def _cloud(layout: Layout) -> bool:
    """What the APIs say of agents, hosts and guests; whether all are up."""
    api = Api(layout.node.url, processes.api_roots(layout), timeout_s=API_TIMEOUT_S)
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
    return all(alive for _, _, alive in lines)


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
