"""`pileus up` and `pileus down`."""

from __future__ import annotations

from pileus.cli import credentials, daemon
from pileus.cli.credentials import Login
from pileus.cli.layout import Layout
from pileus.kernel.process import secrets


def up(layout: Layout) -> int:
    """Start the cloud unless it runs; write clouds.yaml and openrc; say how to reach it."""
    pid = daemon.holder_pid(layout)
    if pid is not None:
        if not daemon.comes_up(layout, pid):
            raise RuntimeError(
                f"process {pid} of this cloud runs but does not answer at {layout.node.url}; see {layout.log_file}, "
                "or end it with `pileus down`"
            )
        print(f"The cloud runs already (process {pid}).")
    else:
        print(f"Starting the cloud in {layout.state_dir} ...", flush=True)
        pid, took = daemon.start(layout)
        print(f"The cloud is up after {took:.1f} s (process {pid}, log {layout.log_file}).")
    credentials.write(layout, [admin(layout), *_others(layout)])
    print(f"\nAPI       {layout.node.url}/identity/v3")
    print(f"Admin     . {layout.openrc_file}    (then: openstack server list)")
    print(f"Clouds    export OS_CLIENT_CONFIG_FILE={layout.clouds_file} OS_CLOUD=pileus-admin")
    return 0


def down(layout: Layout) -> int:
    """End the cloud's process. Guests and networks go on; `up` finds them again."""
    stopped = daemon.stop(layout)
    if stopped == "not running":
        print("The cloud does not run.")
        return 0
    if stopped == "killed":
        print(f"Its process did not end within {daemon.STOP_TIMEOUT_S:.0f} s and was killed.")
    print("The cloud is down. Guests and networks go on.")
    return 0


def admin(layout: Layout) -> Login:
    """The cloud's administrator."""
    return Login("pileus-admin", "admin", secrets.secret(layout.state_dir, "admin-password"), "admin")


def demo_user(layout: Layout) -> Login:
    """The first ordinary user, made by `pileus demo`."""
    return Login("pileus", "demo", secrets.secret(layout.state_dir, "demo-password"), "demo")


def _others(layout: Layout) -> list[Login]:
    known = layout.clouds_file.read_text() if layout.clouds_file.exists() else ""
    return [demo_user(layout)] if "username: demo" in known else []
