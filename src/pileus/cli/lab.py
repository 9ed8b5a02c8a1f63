"""`pileus lab`: a cloud of many hosts on this machine, to rehearse an installation, and a failure."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pileus.cli.layout import Layout

if TYPE_CHECKING:
    from pileus.lab.progress import Progress

DEFAULT_NAME = "lab"
DEFAULT_LAYOUT = "all-in-one"

Action = Callable[[argparse.Namespace], int]


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """The words of `pileus lab shell HOST -- CMD…` before the `--` and after it; all others are left alone."""
    if words[:2] == ["lab", "shell"] and "--" in words:
        at = words.index("--")
        return words[:at], words[at + 1:]
    return words, []


def add_commands(parser: argparse.ArgumentParser) -> None:
    """The commands below `pileus lab`."""
    actions = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, action: Action, text: str, *, of_one: bool = True) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text)
        sub.set_defaults(lab_action=action)
        if of_one:
            sub.add_argument("--name", default=DEFAULT_NAME, help=f"which lab (default: {DEFAULT_NAME})")
        return sub

    up = add("up", _up, "Make a lab: hosts, networks, engines, the cloud's processes.")
    up.add_argument("--layout", default=DEFAULT_LAYOUT, metavar="FILE|NAME", help=f"default: {DEFAULT_LAYOUT}")
    add("down", _down, "Take a lab away; nothing of it stays.")
    add("status", _status, "Show hosts, processes, engines, and how to use them. Status 1 when something is down.")
    shell = add("shell", _shell, "A shell, or one command, on a host, or on `internet` or `admin`.")
    shell.add_argument("host", metavar="HOST")
    shell.usage = "pileus lab shell [--name NAME] HOST [-- CMD...]"
    logs = add("logs", _logs, "Show what a host's processes and engines have written.")
    logs.add_argument("host", metavar="HOST")
    logs.add_argument("process", nargs="?", metavar="PROCESS", help="only this process or engine")
    logs.add_argument("--lines", type=int, default=100, metavar="N", help="of each (default: 100)")
    add("list", _list, "Show the labs of this machine.", of_one=False)
    add("layouts", _layouts, "Show the layouts that are shipped.", of_one=False)
    _add_faults(add("fault", _fault, "Break something, or put it right.", of_one=False))


def _add_faults(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="faults", required=True, metavar="KIND", dest="kind")

    def add(kind: str, text: str, *, what: str | None = None, optional: bool = False, several: bool = False) -> None:
        sub = kinds.add_parser(kind, help=text, description=text)
        sub.add_argument("--name", default=DEFAULT_NAME, help=f"which lab (default: {DEFAULT_NAME})")
        sub.add_argument("host", metavar="HOST", nargs="+" if several else None)
        if what:
            sub.add_argument("what", nargs="?" if optional else None, metavar=what)

    add("kill", "SIGKILL a process or an engine.", what="PROCESS|ENGINE")
    add("start", "Start what does not run of a host's engines and processes.", several=True)
    add("cut", "Pull a network's cable out of a host.", what="NETWORK")
    add("heal", "Put the cable back; all of a host when no network is named.", what="NETWORK", optional=True)
    add("freeze", "Let a host hang, or a process or engine of it.", what="PROCESS|ENGINE", optional=True)
    add("thaw", "Let it go on.", what="PROCESS|ENGINE", optional=True)
    add("power-off", "End everything on hosts at once.", several=True)
    add("power-on", "Start hosts again, with all that belongs on them.", several=True)


def lab(_layout: Layout, options: argparse.Namespace) -> int:
    """Do it. Returns the exit status."""
    if os.geteuid() != 0 and options.lab_action not in (_layouts, _list):
        raise RuntimeError("a lab needs root: it makes namespaces and networks of its own")
    return options.lab_action(options)


def _progress() -> Progress:
    from pileus.lab.progress import Progress

    return Progress(lambda line: print(line, flush=True))


def _up(options: argparse.Namespace) -> int:
    from pileus.lab import building, report

    try:
        made = building.up(options.name, options.layout, _progress())
    except RuntimeError as error:
        print(f"pileus: {error}", file=sys.stderr)
        print(f"What there is of it stays, to be looked at: pileus lab down --name {options.name}", file=sys.stderr)
        return 1
    print("\n" + "\n".join(report.how_to_use(made)))
    return 0


def _down(options: argparse.Namespace) -> int:
    from pileus.lab import building

    if not building.down(options.name, _progress()):
        print(f"There is no lab {options.name!r}.")
    return 0


def _status(options: argparse.Namespace) -> int:
    from pileus.lab import report
    from pileus.lab.lab import open_lab

    lines, well = report.status(open_lab(options.name))
    print("\n".join(lines))
    return 0 if well else 1


def _shell(options: argparse.Namespace) -> int:
    from pileus.lab import configure, hosts
    from pileus.lab.lab import SIDE_HOSTS, open_lab

    found = open_lab(options.name)
    environment = hosts.environment()
    if options.host in SIDE_HOSTS:
        environment["OS_CLOUD"] = configure.CLOUD
    else:
        environment["PS1"] = f"{options.host}# "
    command = options.command_inside or [os.environ.get("SHELL", "/bin/sh")]
    return subprocess.run(found.host(options.host).enter(command), env=environment, cwd="/", check=False).returncode


def _logs(options: argparse.Namespace) -> int:
    from pileus.lab import report
    from pileus.lab.lab import open_lab

    for name, path in report.logs(open_lab(options.name), options.host, options.process):
        print(f"==> {name} on {options.host}: {path}")
        lines = path.read_text(errors="replace").splitlines() if path.exists() else ["(no log)"]
        print("\n".join(lines[-options.lines:]))
    return 0


def _list(_options: argparse.Namespace) -> int:
    from pileus.kernel.config import ConfigError
    from pileus.lab import lab as labs
    from pileus.lab import report

    for name in labs.names():
        try:
            found = labs.open_lab(name)
            print(f"{name:<20}{'up' if report.status(found)[1] else 'PART':<6}{found.layout.about}")
        except ConfigError:
            print(f"{name:<20}{'PART':<6}(half made, or half taken away: pileus lab down --name {name})")
    return 0


def _layouts(_options: argparse.Namespace) -> int:
    from pileus.lab import layout

    for name, each in layout.shipped().items():
        print(f"{name:<14}{len(each.hosts)} host{'s' if len(each.hosts) > 1 else ''}: {each.about}")
    return 0


def _fault(options: argparse.Namespace) -> int:
    from pileus.lab import building, faults
    from pileus.lab.lab import open_lab

    found, host = open_lab(options.name), options.host
    what: Any = getattr(options, "what", None)  # where it is needed, the parser has seen to it
    match options.kind:
        case "kill":
            print(f"killed {', '.join(map(str, faults.kill(found, host, what)))}")
        case "start" | "power-on":
            for each in host if options.kind == "start" else ():
                found.host(each).the_pid()
            building.power_on(found, host, _progress())
        case "cut":
            faults.cut(found, host, what)
        case "heal":
            print(f"{host} is on {', '.join(faults.heal(found, host, what))}")
        case "freeze":
            print(f"{faults.freeze(found, host, what)} processes stand still")
        case "thaw":
            print(f"{faults.thaw(found, host, what)} processes go on")
        case _:  # power-off
            for each in host:
                faults.power_off(found, each)
    return 0
