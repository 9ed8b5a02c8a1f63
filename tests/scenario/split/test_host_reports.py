"""What a host offers is known to placement soon after placement is there, not with the host's next report."""

from __future__ import annotations

import time
from pathlib import Path

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.scenario.split.split_cloud import SplitCloud

PLACEMENT, AGENT = "placement-api", "compute-agent"
OTHERS = "identity-api image-api network-api compute-api network-server compute-scheduler compute-conductor"
TABLES = {"compute": {"agent": {"hypervisor": "fake", "report_interval_s": 3_600.0}}}
WAIT_S = 60.0


def test_an_inventory_that_placement_did_not_take_is_offered_again(
    tmp_path: Path, rabbitmq: RabbitMQ, mariadb: MariaDB
) -> None:
    roles = (PLACEMENT, OTHERS, AGENT)
    with SplitCloud(tmp_path, broker=rabbitmq, database=mariadb, roles=roles, tables=TABLES) as cloud:
        offered(cloud)
        for role in roles:
            cloud.kill(role)
        mariadb.execute(f"DELETE FROM `{cloud.schemas['placement']}`.inventories")
        cloud.start_role(OTHERS)
        cloud.start_role(AGENT)
        until(lambda: "placement did not take the inventory" in cloud.log(OTHERS), "a refusal", cloud)
        cloud.start_role(PLACEMENT)
        offered(cloud)


def offered(cloud: SplitCloud) -> None:
    until(lambda: len(cloud.rows("placement", "inventories")) == 3, "VCPU, MEMORY_MB and DISK_GB", cloud)


def until(condition, what: str, cloud: SplitCloud) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not in time\n{cloud.log(OTHERS)}"
        time.sleep(0.1)
