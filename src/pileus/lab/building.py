"""Making a lab, and taking it away."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence

from pileus.kernel.config import ConfigError
from pileus.kernel.host import durable
from pileus.lab import addresses, cloud_processes, configure, engine_set, hosts
from pileus.lab import lab as labs
from pileus.lab import layout as layouts
from pileus.lab.lab import INTERNET, SIDE_HOSTS, Lab
from pileus.lab.progress import Progress, all_at_once
from pileus.lab.switch import ip


def up(name: str, layout_name: str, progress: Progress) -> Lab:
    """Make the lab of that name. Raises ConfigError when it exists or the layout is wrong; RuntimeError when a part
    does not start: what there is then stays, to be looked at, until `down`."""
    layout, text = layouts.find(layout_name)
    configure.refuse_unknown_roles(layout)
    engine_set.refuse_missing_programs(layout)
    directory = labs.directory_of(name)
    with labs.changing(directory):
        if directory.exists() or any(hosts.running(directory)):
            raise ConfigError(f"lab {name!r} exists; `pileus lab status` shows it, `pileus lab down` takes it away")
        directory.mkdir()
        directory.chmod(labs.ENTER_ONLY)
        durable.write(directory / "layout.toml", text.encode())
        lab = Lab(directory, layout)
        _furnish(lab, progress)
        engines = engine_set.EngineSet(lab)
        engines.bootstrap(progress)
        _start_cloud(lab, engines, progress)
    return lab


def _furnish(lab: Lab, progress: Progress) -> None:
    with progress.step(f"networks {', '.join(addresses.NETWORKS)}"):
        lab.switch.start()
    for name in (*SIDE_HOSTS, *lab.layout.hosts):
        lab.make_disk(name)
    with progress.step(f"hosts {', '.join((*lab.layout.hosts, *SIDE_HOSTS))}"):
        all_at_once(lambda name: switch_on(lab, name), (*SIDE_HOSTS, *lab.layout.hosts))


def switch_on(lab: Lab, name: str) -> None:
    """Make a host's namespaces and plug its cards in; nothing is started in it yet."""
    host = lab.host(name)
    host.start(lab.furniture(name))
    for card in lab.cards(name):
        lab.switch.plug(host, card)
    if name == INTERNET:
        ip(host, [f"addr add {addresses.SITE}/32 dev lo"])
    elif name in lab.layout.hosts and lab.plan(name).nics[0] == "external":
        card = lab.cards(name)[0]  # guests share it with the host: it goes into a bridge, which has the address
        bridge = configure.BRIDGE
        ip(host, [
            f"link add {bridge} type bridge forward_delay 0", f"addr del {card.address} dev {card.name}",
            f"link set {card.name} master {bridge}", f"addr add {card.address} dev {bridge}", f"link set {bridge} up",
        ])


def _start_cloud(lab: Lab, engines: engine_set.EngineSet, progress: Progress) -> None:
    members = [name for name, plan in lab.layout.hosts.items() if plan.cloud]
    where = engines.where()
    for name in members:
        text = configure.pileus_toml(lab.layout, name, cloud=lab.name, engines=where)
        durable.write(lab.config_file(name), text.encode())  # 0600: there are passwords in it
    if not lab.plan(members[0]).is_whole_cloud:
        configure.write_secrets(lab.layout, {name: lab.state_dir(name) for name in members})

    _start_processes(lab, members, progress)
    first = (lab.layout.with_role("identity-api") or members)[0]
    password = cloud_processes.admin_password(lab, first)
    durable.write(lab.clouds_file, configure.clouds_yaml(lab.layout, password).encode())


def _start_processes(lab: Lab, names: Sequence[str], progress: Progress) -> None:
    def start(name: str) -> None:
        with progress.step(f"{name}: {', '.join(cloud_processes.names(lab, name))}"):
            cloud_processes.start(lab, name)

    all_at_once(start, [name for name in names if lab.plan(name).cloud])


def power_on(lab: Lab, names: Sequence[str], progress: Progress) -> None:
    """Start hosts that are off, with all that belongs on them. Fine when part of it runs."""
    with labs.changing(lab.directory):
        for name in names:
            if lab.host(name).pid is None:
                with progress.step(f"host {name}"):
                    switch_on(lab, name)
        start_all(lab, [name for name in names if name not in SIDE_HOSTS], progress)


def start_all(lab: Lab, names: Sequence[str], progress: Progress) -> None:
    """Start the engines and processes of hosts that do not run."""
    engine_set.EngineSet(lab).start(names, progress)
    _start_processes(lab, names, progress)


def down(name: str, progress: Progress) -> bool:
    """Take the lab away, whatever state it is in. Returns whether there was anything."""
    directory = labs.directory_of(name)
    if name not in labs.names():
        return False
    with labs.changing(directory):
        with progress.step("all processes ended, with their networks"):
            hosts.end_all(directory)
        with progress.step(f"{directory} removed"):
            if directory.exists():
                shutil.rmtree(directory)
        (directory.parent / f".{directory.name}.lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            directory.parent.rmdir()  # of the last one
    return True
