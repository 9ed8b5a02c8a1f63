"""The operator's command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pileus import __version__
from pileus.cli import lab
from pileus.cli import layout as layouts
from pileus.cli.layout import Layout


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `pileus`. Returns the exit status: 0 fine, 1 something is wrong, 2 bad usage."""
    words, inside = lab.split(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(words)
    options.command_inside = inside
    try:
        layout = layouts.find(options.config, options.state_dir, may_be_missing=options.command is _join)
        return options.command(layout, options)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"pileus: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pileus", description="A cloud that speaks the OpenStack APIs.")
    parser.add_argument("--version", action="version", version=f"pileus {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[Layout, argparse.Namespace], int], text: str, among: Any = commands
    ) -> argparse.ArgumentParser:
        sub = among.add_parser(name, help=text, description=text)
        sub.add_argument("--config", metavar="FILE", help="configuration (default: /etc/pileus/pileus.toml, if any)")
        sub.add_argument("--state-dir", metavar="DIR", help="where the cloud keeps its data (default: /var/lib/pileus)")
        sub.set_defaults(command=command)
        return sub

    up = add("up", _up, "Start what does not run of the cloud's processes on this host, and say how to reach it.")
    up.add_argument("--timeout-s", type=float, default=90.0, metavar="SECONDS", help="end what takes longer (90)")
    down = add("down", _down, "Stop the cloud's processes on this host. Guests and networks go on.")
    down.add_argument("--purge", action="store_true", help="also take its guests and networks off this host")
    down.add_argument("--state", action="store_true", help="with --purge: its disks, images and databases as well")
    down.add_argument("--yes", action="store_true", help="with --purge: yes, that is meant")
    add("status", _status, "Show what runs, and whether it is well. Exit status 1 when it is not.")
    add("doctor", _doctor, "Say what this machine lacks to run a cloud, and what to do about it.")
    demo = add("demo", _demo, "Give a new cloud an image, flavors, networks and a first guest; say how to log in.")
    demo.add_argument("--image", metavar="FILE", help="qcow2 file of the first image", required=True)
    verify = add("verify", _verify, "Compare databases, host and disks. Status 1: findings; 2: could not look.")
    repair = add("repair", _repair, "Say what would put findings right; with --apply, do it.")
    repair.add_argument("--apply", action="store_true", help="do it, then verify again")
    for sub in (verify, repair):
        sub.add_argument("--json", action="store_true", help="for programs")
        sub.add_argument("--once", action="store_true", help="look once: what is in motion is found as well")
        sub.add_argument("--settle-s", type=float, metavar="SECONDS", help="how far apart the two looks are")
    trace = add("trace", _trace, "Show what an operation did, hop by hop; while it runs, as it happens.")
    trace.add_argument("target", metavar="ID", help="a request id, a global one, or of a server, port, ...")
    trace.add_argument("--follow", action="store_true", help="also wait for it to begin")
    trace.add_argument("--once", action="store_true", help="show what there is now, and end")
    trace.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="follow at most so long (600)")
    trace.add_argument("--json", action="store_true", help="for programs")
    why = add("why", _why, "Say why a server was refused, failed, or is not running; the first line answers.")
    why.add_argument("target", metavar="ID", help="server id or request id")
    inventory = add("inventory", _inventory, "Check a file that says what runs where, or show a host's [processes].")
    inventory.add_argument("what", choices=("check", "show", "examples"))
    inventory.add_argument("file", nargs="?", metavar="FILE", help="a TOML file, or the name of an example")
    inventory.add_argument("host", nargs="?", metavar="HOST", help="with show: whose table")
    systemd = add("systemd", _systemd, "Install the systemd unit of this host's processes, or show it.")
    systemd.add_argument("what", choices=("install", "show"))
    systemd.add_argument("--enable", action="store_true", help="start exactly the configured processes at boot")
    systemd.add_argument("--directory", metavar="DIR", help="where units are (default: /etc/systemd/system)")
    serve = add("serve", _serve, "Run some roles as a process of their own, in the foreground; needs a message broker.")
    serve.add_argument("roles", nargs="*", metavar="ROLE", help="what to run")
    serve.add_argument("--process", metavar="NAME", help="what table [processes] of the configuration says of it")
    serve.add_argument("--list", action="store_true", help="show all roles")
    serve.add_argument("--port", type=_port, metavar="N", help="HTTP port, if there is an API among the roles")
    _add_hosts(add)
    lab.add_commands(add("lab", _lab, "Many hosts on this machine, to rehearse an installation, and a failure."))
    text = "Where the databases are, and take them elsewhere."
    db = commands.add_parser("db", help=text, description=text).add_subparsers(required=True, metavar="COMMAND")
    add("status", _db_status, "Show each service's database: engine, size, schema. Status 1: one cannot be used.", db)
    text = "Take a running cloud's databases from files to MariaDB, its messages to a broker."
    move = add("move", _db_move, text, db)
    move.add_argument("wanted", metavar="NEW.toml", help="the configuration as it shall be then: [database], [bus]")
    run = add("run", _run, "Run the cloud in the foreground.")
    run.add_argument("--role", action="append", metavar="ROLE", help="only these roles (may be given several times)")
    run.add_argument("--when-told", action="store_true", help="load everything, then wait for a line on standard input")
    return parser


def _add_hosts(add: Callable[..., argparse.ArgumentParser]) -> None:
    host = add("host", _host, "On a controller: who may join the cloud as a host, and who has.")
    actions = host.add_subparsers(dest="action", required=True, metavar="ACTION")
    token = actions.add_parser("token", help="Print a token that lets one host join.")
    token.add_argument(
        "--process", action="append", required=True, metavar="NAME=ROLE,…[:PORT]", dest="processes",
        help="a process that the host is to run, with a port if there is an API in it (may be given several times)",
    )
    token.add_argument("--ttl-s", type=int, metavar="SECONDS", help="how long it is good (default: [join] token_ttl_s)")
    actions.add_parser("list", help="Show the hosts that joined.")
    remove = actions.add_parser("remove", help="Forget a host that is no more, so that its name is free.")
    remove.add_argument("name", metavar="HOST")
    for sub in actions.choices.values():  # also after the action; what stands before it is kept
        sub.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        sub.add_argument("--state-dir", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    join = add("join", _join, "Make this machine a host of a cloud, with a token from one of its controllers.")
    join.add_argument("token", nargs="?", default="-", metavar="TOKEN", help="the token; `-`: ask for it (default)")
    join.add_argument("--token-file", metavar="FILE", help="read the token from a file")
    join.add_argument("--host", metavar="NAME", help="this host's name in the cloud (default: the machine's)")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _up(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import up

    return up.up(layout, options.timeout_s)


def _down(layout: Layout, options: argparse.Namespace) -> int:
    if options.purge:
        from pileus.cli import purge

        return purge.purge(layout, with_state=options.state, confirmed=options.yes)
    from pileus.cli import up

    return up.down(layout)


def _status(layout: Layout, _options: argparse.Namespace) -> int:
    from pileus.cli import status

    return status.status(layout)


def _doctor(layout: Layout, _options: argparse.Namespace) -> int:
    from pileus.cli import doctor

    return doctor.doctor(layout)


def _demo(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import demo

    return demo.demo(layout, options.image)


def _verify(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import verify

    return verify.verify(layout, options)


def _repair(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import repair

    return repair.repair(layout, options)


def _trace(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import trace

    follow = False if options.once else True if options.follow else None
    return trace.trace(layout, trace.Wanted(
        target=options.target, follow=follow, as_json=options.json, timeout_s=options.timeout
    ))


def _why(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import why

    return why.why(layout, options.target)


def _serve(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import serve

    if options.list:
        return serve.show_roles()
    if options.process is not None:
        if options.roles or options.port:
            print("pileus: roles and port of a process are in the configuration", file=sys.stderr)
            return 2
        return serve.serve_process(layout, options.process)
    if not options.roles:
        print("pileus: name at least one role (`pileus serve --list` shows them)", file=sys.stderr)
        return 2
    return serve.serve(layout, options.roles, options.port)


def _lab(layout: Layout, options: argparse.Namespace) -> int:
    return lab.lab(layout, options)


def _inventory(_layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import inventory

    match options.what, options.file, options.host:
        case "examples", None, None:
            return inventory.show_examples()
        case "check", str(file), None:
            return inventory.check(file)
        case "show", str(file), str(host):
            return inventory.show(file, host)
    print("pileus: say `inventory check FILE`, `inventory show FILE HOST` or `inventory examples`", file=sys.stderr)
    return 2


def _systemd(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import systemd

    if options.what == "show":
        return systemd.show(layout)
    directory = Path(options.directory) if options.directory else systemd.UNIT_DIRECTORY
    return systemd.install(layout, directory, enable=options.enable)


def _host(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import host

    if options.action == "token":
        return host.token(layout, options.processes, options.ttl_s)
    return host.remove(layout, options.name) if options.action == "remove" else host.show(layout)


def _join(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import joining

    return joining.join(layout, options.token, options.token_file, options.host)


def _db_status(layout: Layout, _options: argparse.Namespace) -> int:
    from pileus.cli import db

    return db.status(layout)


def _db_move(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import db_move

    return db_move.run(layout, Path(options.wanted), options.state_dir)


def _run(layout: Layout, options: argparse.Namespace) -> int:
    from pileus.cli import run

    return run.run(layout, options.role, when_told=options.when_told)


if __name__ == "__main__":
    sys.exit(main())
