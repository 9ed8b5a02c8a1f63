"""What a lab is and how it is, for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pileus.kernel.config import ConfigError
from pileus.lab import addresses, cloud_processes, configure, engine_set, faults, hosts
from pileus.lab.lab import INTERNET, SIDE_HOSTS, Lab


def status(lab: Lab) -> tuple[list[str], bool]:
    """Lines, and whether all is as it should be."""
    lines = [f"lab       {lab.name} in {lab.directory}: {lab.layout.about}"]
    on = hosts.running(lab.directory)
    well = True
    for name in lab.layout.hosts:
        found = list(_host(lab, name, name in on))
        lines += [line for line, _ in found]
        well = well and all(good for _, good in found)
    for name in SIDE_HOSTS:
        lines.append(_line(name, "host", "up" if name in on else "OFF", _cards(lab, name)))
        well = well and name in on
    if holder := vip_holder(lab):
        lines.append(f"VIP       {addresses.front(lab.layout)} is held by {', '.join(holder)}")
    elif lab.layout.with_engine("keepalived"):
        lines.append(f"VIP       {addresses.front(lab.layout)} is held by NOBODY")
        well = False
    lines += ["", *how_to_use(lab)]
    return lines, well


def how_to_use(lab: Lab) -> list[str]:
    """What to type."""
    first = next(iter(lab.layout.hosts))
    option = "" if lab.name == "lab" else f" --name {lab.name}"
    external = addresses.NETWORKS["external"]
    return [
        f"client    pileus lab shell{option} admin -- openstack server list",
        f"API       {configure.front_url(lab.layout)}/identity/v3 (inside the lab)",
        f"shell     pileus lab shell{option} {first}    logs: pileus lab logs{option} {first}",
        f"internet  pileus lab shell{option} {INTERNET} -- ping FLOATING-IP    (guests reach {addresses.SITE})",
        f"external  physical network {configure.PHYSICAL_NETWORK}, {external}, "
        f"gateway {addresses.numbered('external', addresses.INTERNET)}, free from .10 on",
        f"end       pileus lab down{option}",
    ]


def vip_holder(lab: Lab) -> list[str]:
    """The hosts that have the virtual address now."""
    vip = addresses.front(lab.layout)
    found = []
    for name in lab.layout.with_engine("keepalived"):
        if lab.host(name).pid is not None:
            shown = lab.place(name, "log").run(("ip", "-oneline", "-4", "address", "show"), timeout_s=10)
            found += [name] if f" {vip}/" in shown else []
    return found


def _host(lab: Lab, name: str, on: bool) -> Iterator[tuple[str, bool]]:
    yield _line(name, "host", "up" if on else "OFF", _cards(lab, name)), on
    if not on:
        return
    for card in lab.cards(name):
        if lab.switch.is_cut(name, card):
            yield _line(name, card.network, "CUT", f"no cable in {card.name}"), False
    plan = lab.plan(name)
    for kind, names in (("engine", plan.engines), ("process", cloud_processes.names(lab, name) if plan.cloud else ())):
        for each in names:
            found = faults.processes_of(lab, name, each)
            frozen = [process for process in found if faults.is_frozen(process.pid)]
            state = "DOWN" if not found else "FROZEN" if frozen else "up"
            pids = ", ".join(str(process.pid) for process in found)
            yield _line(name, f"{kind} {each}", state, f"pid {pids}" if pids else ""), state == "up"


def _cards(lab: Lab, name: str) -> str:
    return ", ".join(f"{card.name} {card.network} {card.address or 'for guests'}" for card in lab.cards(name))


def _line(host: str, what: str, state: str, more: str) -> str:
    return f"{host:<14}{what:<22}{state:<8}{more}".rstrip()


def logs(lab: Lab, host: str, only: str | None) -> list[tuple[str, Path]]:
    """The log files of a host's processes and engines, with their names. Raises ConfigError."""
    plan = lab.plan(host)
    found = {name: cloud_processes.log_file(lab, host, name) for name in cloud_processes.names(lab, host) if plan.cloud}
    found |= engine_set.EngineSet(lab).logs(host)
    if only is None:
        return list(found.items())
    if only not in found:
        raise ConfigError(f"host {host} has no process or engine {only!r}; it has {', '.join(found)}")
    return [(only, found[only])]
