"""Each corruption is found and named, exactly that and nothing else; repair puts it right, or says who must."""

from __future__ import annotations

import contextlib
import io
import json
import uuid
from typing import Any

import pytest
from actors import Shop
from sqlalchemy import update

from cloud import Cloud
from pileus.cli import main
from pileus.services.network.db.floating_ips import FLOATING_IPS
from pileus.verify import catalogue
from tests.verify.plants import PLANTS, Garden
from verified import config_of, pileus

SETTLE_S = 0.3
ATTEMPTS = 3


@pytest.fixture(scope="module")
def garden(cloud: Cloud, shop: Shop) -> Garden:
    return Garden(cloud, shop)


def _command(cloud: Cloud, command: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The operator's command in this process: a process of its own takes longer to start than to look."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        argv = [command, "--config", str(config_of(cloud)), "--json", "--settle-s", str(SETTLE_S), *arguments]
        status = main.main(argv)
    return status, json.loads(out.getvalue())


def _is_clean(cloud: Cloud) -> bool:
    status, found = _command(cloud, "verify")
    assert status == 0, found
    return True


@pytest.mark.parametrize("name", PLANTS)
def test_found_named_and_repaired(cloud: Cloud, garden: Garden, name: str) -> None:
    for _ in range(ATTEMPTS):  # the cloud may put right what it sees before anybody looks
        planted = PLANTS[name](garden)
        _, found = _command(cloud, "verify")
        if found["findings"]:
            break
    assert [item["name"] for item in found["findings"]] == [name], found
    (finding,) = found["findings"]
    assert finding["resources"].items() >= planted.resources.items()

    status, planned = _command(cloud, "repair")
    assert (status, planned["repairs"]) == (1, [])
    assert [item["name"] for item in planned["findings"]] == [name], "repair without --apply changed something"

    status, repaired = _command(cloud, "repair", "--apply")
    outcome, *consequences = repaired["repairs"]
    assert outcome["finding"]["name"] == name
    assert all(item["outcome"] == "done" for item in consequences), "what the repair lays bare is repaired as well"
    if catalogue.BY_NAME[name].repair.act is None:
        assert (outcome["outcome"], status) == ("left to you", 1)
        planted.undo()
    else:
        assert (outcome["outcome"], status) == ("done", 0), repaired
    assert _is_clean(cloud)
    garden.tidy()
    assert _is_clean(cloud)


def test_what_a_deleted_row_leaves_is_found_whole_and_cleaned(cloud: Cloud, garden: Garden) -> None:
    from pileus.services.compute.db import servers

    server = garden.server()
    port = garden.port_of(server)
    garden.write("compute", lambda tx: servers.mark_deleted(tx, server))
    _, found = _command(cloud, "verify")
    names = {item["name"] for item in found["findings"]}
    assert names == {"disk-without-row", "allocation-without-server", "port-without-server"}
    status, _ = _command(cloud, "repair", "--apply")
    assert status == 0
    assert garden.shop.admin.network("GET", f"/ports/{port}").status_code == 404, "compute made it, so it goes"
    assert _is_clean(cloud)


def test_a_floating_ip_of_a_port_that_is_gone_leads_nowhere_after_repair(cloud: Cloud, garden: Garden) -> None:
    item, gone = garden.floating_ip(), str(uuid.uuid4())
    values = {"port_id": gone, "fixed_ip_address": "10.20.0.99"}
    garden.execute_unchecked("network", update(FLOATING_IPS).where(FLOATING_IPS.c.id == item).values(**values))
    _, found = _command(cloud, "verify")
    assert [item["name"] for item in found["findings"]] == ["floating-ip-without-port"]
    assert found["findings"][0]["resources"] == {"floating_ip": item, "port": gone}
    assert _command(cloud, "repair", "--apply")[0] == 0
    shown = garden.ask("GET", f"/floatingips/{item}")["floatingip"]
    assert (shown["port_id"], shown["status"]) == (None, "DOWN")


def test_the_text_names_both_sides_and_the_repair(cloud: Cloud, garden: Garden) -> None:
    planted = PLANTS["allocation-without-server"](garden)
    config, settle = config_of(cloud), ("--settle-s", str(SETTLE_S))
    done = pileus("verify", cloud.state_dir, *settle, config=config)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0]) == (1, "verify: 1 finding")
    assert lines[2] == "allocation-without-server: a claim for nobody"
    assert lines[3] == f"  consumer {planted.resources['consumer']}"
    assert lines[4].startswith("    placement: it has 1 VCPU from ")
    assert lines[5:] == ["    compute: there is no such server", "    repair would give the claim back"]
    done = pileus("repair", cloud.state_dir, "--apply", *settle, config=config)
    assert done.returncode == 0
    assert done.stdout.startswith("done        allocation-without-server: consumer ")
    assert "verify: nothing found" in done.stdout
