"""The unmodified `openstack` command and the SDK against the compute API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openstack
import pytest
from actors import Shop
from test_keypairs import ssh_key

COMMAND_TIMEOUT_S = 90


class Client:
    """The command as one project's user, or as the administrator."""

    def __init__(self, shop: Shop, user: str, password: str) -> None:
        self.environment = os.environ | {
            "OS_AUTH_URL": f"{shop.cloud.url}/identity/v3", "OS_USERNAME": user, "OS_PASSWORD": password,
            "OS_PROJECT_NAME": user, "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default",
            "OS_IDENTITY_API_VERSION": "3", "OS_COMPUTE_API_VERSION": "2.96",
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = Path(sys.executable).with_name("openstack")
        return subprocess.run(
            [str(command), *words], env=self.environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "-f", "json"))


@pytest.fixture(scope="module")
def user(shop: Shop) -> Client:
    return Client(shop, "shop", "s3cret-shop")


@pytest.fixture(scope="module")
def admin(shop: Shop) -> Client:
    return Client(shop, "admin", shop.cloud.admin_password)


def test_the_journey_of_a_server(shop: Shop, user: Client, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(ssh_key())
    user.ok("keypair", "create", "--public-key", str(tmp_path / "key.pub"), "laptop")
    assert [k["Name"] for k in user.json("keypair", "list")] == ["laptop"]
    assert "shop.tiny" in [f["Name"] for f in user.json("flavor", "list")]
    made = user.json(
        "server", "create", "--flavor", "shop.tiny", "--image", "shop", "--network", "shop-net", "--key-name", "laptop",
        "--property", "a=b", "--wait", "journey",
    )
    assert made["status"] == "ACTIVE"
    assert made["key_name"] == "laptop"
    (row,) = [s for s in user.json("server", "list") if s["Name"] == "journey"]
    assert row["Status"] == "ACTIVE"
    assert row["Image"] == "shop"
    assert row["Flavor"] == "shop.tiny"
    assert row["Networks"]["shop-net"][0].startswith("10.20.0.")
    shown = user.json("server", "show", "journey")
    assert shown["properties"] == {"a": "b"}
    assert shown["security_groups"] == [{"name": "default"}]
    user.ok("server", "stop", "journey")
    shop.admin.until_status(row["ID"], "SHUTOFF")
    user.ok("server", "start", "journey")
    shop.admin.until_status(row["ID"], "ACTIVE")
    user.ok("server", "reboot", "--hard", "--wait", "journey")
    assert "fake guest running" in user.ok("console", "log", "show", "journey")
    events = [event["Action"] for event in user.json("server", "event", "list", "journey")]
    assert events == ["reboot", "start", "stop", "create"]
    user.ok("server", "set", "--name", "renamed", "--property", "c=d", "journey")
    user.ok("server", "delete", "--wait", "renamed")
    assert [s for s in user.json("server", "list") if s["ID"] == row["ID"]] == []
    user.ok("keypair", "delete", "laptop")


def test_what_goes_wrong_reads_well(user: Client) -> None:
    common = ("--image", "shop", "--network", "shop-net")
    over = user.run("server", "create", "--flavor", "shop.tiny", *common, "--min", "11", "--max", "11", "many")
    assert over.returncode != 0
    assert "Quota exceeded for instances: Requested 11, but already used 0 of 10 instances" in over.stderr
    missing = user.run("server", "show", "nobody")
    assert missing.returncode != 0
    assert "nobody" in missing.stderr
    refused = user.run("hypervisor", "list")
    assert refused.returncode != 0
    assert "os_compute_api:os-hypervisors:list" in refused.stderr


def test_the_administrators_commands(shop: Shop, admin: Client) -> None:
    made = admin.json("flavor", "create", "--ram", "128", "--vcpus", "1", "--disk", "1", "--property", "x=y", "admins")
    assert made["ram"] == 128
    assert admin.json("flavor", "show", "admins")["properties"] == {"x": "y"}
    admin.ok("flavor", "delete", "admins")
    assert [h["State"] for h in admin.json("hypervisor", "list")] == ["up"]
    assert {s["Binary"] for s in admin.json("compute", "service", "list")} >= {"nova-compute", "nova-conductor"}
    assert [z["Zone Name"] for z in admin.json("availability", "zone", "list", "--compute")][-1] == "nova"
    admin.ok("quota", "set", "--instances", "12", shop.user.project_id)
    quotas = {q["Resource"]: q["Limit"] for q in admin.json("quota", "show", "--compute", shop.user.project_id)}
    assert quotas["instances"] == 12
    admin.ok("aggregate", "create", "--zone", "west", "agg")
    admin.ok("aggregate", "delete", "agg")


def test_the_sdk(shop: Shop) -> None:
    connection = openstack.connect(
        auth_url=f"{shop.cloud.url}/identity/v3", username="shop", password="s3cret-shop", project_name="shop",
        user_domain_id="default", project_domain_id="default", region_name=None, load_yaml_config=False,
        load_envvars=False,
    )
    compute = connection.compute
    made = compute.create_server(
        name="sdk", flavor_id=shop.flavor, image_id=shop.image, networks=[{"uuid": shop.network}]
    )
    server = compute.wait_for_server(made, wait=30, interval=0.2)
    assert server.status == "ACTIVE"
    assert server.addresses["shop-net"]
    assert [s.id for s in compute.servers(name="sdk")] == [server.id]
    compute.set_server_metadata(server, k="v")
    assert dict(compute.get_server(server.id).metadata) == {"k": "v"}
    assert [f.name for f in compute.flavors() if f.name == "shop.tiny"] == ["shop.tiny"]
    assert compute.get_server_console_output(server)["output"]
    compute.delete_server(server)
    compute.wait_for_delete(server, interval=0.2, wait=30)
    connection.close()
