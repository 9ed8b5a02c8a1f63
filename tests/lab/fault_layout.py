"""The layout on which faults are tried: the shipped `ha`, whose guests and wires are only remembered.

What is tested is the control plane, and two processors have to carry it with its load. So compute hosts have the fake
hypervisor and L2 driver (ports are made, bound and given back as always), and there are no network hosts. Scheduler and
conductor are processes of their own, so that each can be killed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pileus.kernel.config.writer import to_toml
from pileus.lab.layout import SHIPPED

CONTROLLERS = ("controller1", "controller2", "controller3")
COMPUTES = ("compute1", "compute2", "compute3")
TABLES = {"compute": {"agent": {"hypervisor": "fake"}}, "network": {"l2_driver": "fake"}}
SCHEDULER = "compute-scheduler"


def write(directory: Path) -> Path:
    """The layout file."""
    hosts = tomllib.loads((SHIPPED / "ha.toml").read_text())["hosts"]
    hosts = {name: plan for name, plan in hosts.items() if name in (*CONTROLLERS, *COMPUTES)}
    for name, plan in hosts.items():
        plan["tables"] = plan.get("tables", {}) | TABLES
        if name in CONTROLLERS:
            plan["processes"]["conductor"]["roles"].remove(SCHEDULER)
            plan["processes"]["scheduler"] = {"roles": [SCHEDULER]}
    file = directory / "faults.toml"
    file.write_text('about = "Three controllers and three hosts whose guests are remembered."\n'
                    + to_toml({"hosts": hosts}))
    return file
