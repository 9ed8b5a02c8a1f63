"""`pileus up` and `pileus down`."""

from __future__ import annotations

from pileus.cli import credentials, daemon, processes
from pileus.cli.credentials import Login
from pileus.cli.daemon import StartFailed
from pileus.cli.layout import Layout
from pileus.cli.processes import Process
from pileus.kernel.process import secrets


def up(layout: Layout, timeout_s: float = daemon.READY_TIMEOUT_S) -> int:
    """Start what does not run of the host's processes; write clouds.yaml and openrc; say how to reach the cloud."""
    wanted = processes.configured(layout)
    failures = [failure for process in wanted if (failure := _runs_already(process, timeout_s))]
    missing = [process for process in wanted if daemon.holder_pid(process) is None]
    if missing:
        names = "the cloud" if missing[0].roles is None else ", ".join(process.name for process in missing)
        print(f"Starting {names} in {layout.state_dir} ...", flush=True)
    try:
        for one in daemon.start(missing, timeout_s):
            about = f"process {one.pid}, log {one.process.log_file}"
            print(f"{one.process.title} is up after {one.took_s:.1f} s ({about}).", flush=True)
    except StartFailed as error:
        failures.append(str(error))
    if failures:
        raise StartFailed("\n".join(failures))
    if processes.holds_identity(layout):
        _say_how_to_reach(layout)
    return 0


def _runs_already(process: Process, timeout_s: float) -> str:
    """Say so if it does; why it is not well, else ""."""
    pid = daemon.holder_pid(process)
    if pid is None:
        return ""
    if not daemon.comes_up(process, pid, timeout_s):
        which = "of this cloud" if process.roles is None else f"({process.name})"
        return (
            f"process {pid} {which} runs but does not answer at {process.layout.node.local_url}; "
            f"see {process.log_file}, or end it with `pileus down`"
        )
    print(f"{process.title} runs already (process {pid}).")
    return ""


def _say_how_to_reach(layout: Layout) -> None:
    credentials.write(layout, [admin(layout), *_others(layout)])
    print(f"\nAPI       {processes.service_url(layout, 'identity')}/v3")
    print(f"Admin     . {layout.openrc_file}    (then: openstack server list)")
    print(f"Clouds    export OS_CLIENT_CONFIG_FILE={layout.clouds_file} OS_CLOUD=pileus-admin")


def down(layout: Layout) -> int:
    """End the cloud's processes on this host. Guests and networks go on; `up` finds them again."""
    stopped = daemon.stop(layout)
    if not stopped:
        print("The cloud does not run.")
        return 0
    for name, how in stopped.items():
        if how == "killed":
            which = "Its process" if name == processes.WHOLE else f"The process {name}"
            print(f"{which} did not end within {daemon.STOP_TIMEOUT_S:.0f} s and was killed.")
    where = "" if processes.WHOLE in stopped else f" on this host ({', '.join(stopped)})"
    print(f"The cloud is down{where}. Guests and networks go on.")
    return 0


def admin(layout: Layout) -> Login:
    """The cloud's administrator."""
    return Login("pileus-admin", "admin", secrets.secret(layout.state_dir, secrets.ADMIN_PASSWORD), "admin")


def demo_user(layout: Layout) -> Login:
    """The first ordinary user, made by `pileus demo`."""
    return Login("pileus", "demo", secrets.secret(layout.state_dir, "demo-password"), "demo")


def _others(layout: Layout) -> list[Login]:
    known = layout.clouds_file.read_text() if layout.clouds_file.exists() else ""
    return [demo_user(layout)] if "username: demo" in known else []
