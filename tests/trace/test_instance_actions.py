"""The same record where the stock client looks for it: instance actions and events of one's own servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openstack
import pytest
from actors import Actor, Shop

from cloud import Cloud
from pileus.services.compute.worker.agent import ComputeAgent

BUILD = [
    "compute_choose_host", "compute_allocate_ports", "compute_prepare", "compute_wire",
    "compute__do_build_and_run_instance",
]
INSIDES = {"traceback", "host"}


def _actions(actor: Actor, server: str, **more: Any) -> list[dict[str, Any]]:
    return actor.get(f"/servers/{server}/os-instance-actions", **more)["instanceActions"]


def _action(actor: Actor, server: str, request: str, **more: Any) -> dict[str, Any]:
    return actor.get(f"/servers/{server}/os-instance-actions/{request}", **more)["instanceAction"]


def _hypervisor(cloud: Cloud) -> Any:
    assert cloud.node is not None
    return cloud.node.runtimes["compute"].get(ComputeAgent).hypervisor


@pytest.fixture(scope="module")
def lived(shop: Shop) -> tuple[str, dict[str, str]]:
    """A server that was created, stopped, started, rebooted and deleted; its id and the request of each."""
    requests, user = {}, shop.user
    answer = shop.try_boot("lived")
    server = answer.json()["server"]["id"]
    requests["create"] = answer.headers["X-Openstack-Request-Id"]
    user.until_status(server, "ACTIVE")
    for name, action, value, status in (
        ("stop", "os-stop", None, "SHUTOFF"), ("start", "os-start", None, "ACTIVE"),
        ("reboot", "reboot", {"type": "HARD"}, "ACTIVE"),
    ):
        requests[name] = user.act(server, action, value).headers["X-Openstack-Request-Id"]
        user.until_status(server, status)
    requests["delete"] = user.ask("DELETE", f"/servers/{server}").headers["X-Openstack-Request-Id"]
    user.until_gone(server)
    return server, requests


def test_one_action_per_request_newest_first_for_deleted_servers_too(
    shop: Shop, lived: tuple[str, dict[str, str]]
) -> None:
    server, requests = lived
    found = _actions(shop.user, server)
    assert [(one["action"], one["request_id"], one["message"]) for one in found] == [
        (name, request, None) for name, request in reversed(requests.items())
    ]
    assert {one["project_id"] for one in found} == {shop.user.project_id}
    assert all(one["user_id"] and one["instance_uuid"] == server for one in found)
    assert all(one["start_time"] <= one["updated_at"] for one in found)
    assert shop.user.ask("GET", f"/servers/{server}/os-instance-actions", version="2.20").status_code == 404


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("create", BUILD), ("stop", ["compute_stop_instance"]), ("start", ["compute_start_instance"]),
        ("reboot", ["compute_reboot_instance"]),
        ("delete", ["compute_terminate_instance", "compute_release_ports", "compute_release_host"]),
    ],
)
def test_events_are_the_steps(
    shop: Shop, lived: tuple[str, dict[str, str]], name: str, events: list[str]
) -> None:
    server, requests = lived
    action = _action(shop.user, server, requests[name])
    assert [event["event"] for event in action["events"]] == events
    for event in action["events"]:
        assert event["result"] == "Success"
        assert event["start_time"] <= event["finish_time"]


def test_what_each_microversion_and_each_caller_sees(shop: Shop, lived: tuple[str, dict[str, str]]) -> None:
    server, requests = lived
    request = requests["create"]

    def keys(actor: Actor, version: str) -> set[str]:
        events = _action(actor, server, request, version=version).get("events")
        return set() if events is None else set(events[0])

    base = {"event", "start_time", "finish_time", "result"}
    assert keys(shop.user, "2.50") == set()
    assert keys(shop.admin, "2.50") == base | {"traceback"}
    assert keys(shop.user, "2.51") == base
    assert keys(shop.user, "2.62") == base | {"hostId"}
    assert keys(shop.admin, "2.62") == base | {"hostId", "host", "traceback"}
    assert keys(shop.user, "2.84") == base | {"hostId"}
    assert keys(shop.admin, "2.84") == base | {"hostId", "host", "traceback", "details"}
    shown = json.dumps(_action(shop.user, server, request))
    assert "test-host" not in shown


def test_a_failure_tells_owners_that_and_operators_why(cloud: Cloud, shop: Shop) -> None:
    _hypervisor(cloud).fail_starts = 1
    answer = shop.try_boot("fails")
    server, request = answer.json()["server"]["id"], answer.headers["X-Openstack-Request-Id"]
    shop.user.until_status(server, "ERROR")
    own, full = _action(shop.user, server, request), _action(shop.admin, server, request)
    assert own["message"] == "Error"
    failed = [event for event in own["events"] if event["result"] == "Error"]
    assert [event["event"] for event in failed] == ["compute__do_build_and_run_instance"]
    assert "told to fail" not in json.dumps(own)
    assert not INSIDES & set(failed[0])
    (seen,) = [event for event in full["events"] if event["result"] == "Error"]
    assert "told to fail this start" in seen["traceback"]
    assert seen["host"] == "test-host"
    assert seen["details"].startswith("Build of instance")
    undone = [event["event"] for event in own["events"] if event["event"].endswith("(undone)")]
    assert undone == ["compute_prepare (undone)", "compute_allocate_ports (undone)", "compute_choose_host (undone)"]


def test_an_action_is_seen_while_it_runs(cloud: Cloud, shop: Shop) -> None:
    _hypervisor(cloud).latency_s = 1.5
    try:
        answer = shop.try_boot("running")
        server, request = answer.json()["server"]["id"], answer.headers["X-Openstack-Request-Id"]
        deadline = time.monotonic() + 30
        while True:
            events = _action(shop.user, server, request)["events"]
            now = events[-1]
            if now["event"] == "compute_prepare":
                break
            assert time.monotonic() < deadline, events
            time.sleep(0.05)
        assert (now["finish_time"], now["result"]) == (None, None)
        assert now["start_time"]
        assert [event["result"] for event in events[:-1]] == ["Success"] * (len(events) - 1)
    finally:
        _hypervisor(cloud).latency_s = 0.0
    shop.user.until_status(server, "ACTIVE", timeout_s=60)
    assert [event["event"] for event in _action(shop.user, server, request)["events"]] == BUILD


def test_strangers_see_nothing(cloud: Cloud, shop: Shop, lived: tuple[str, dict[str, str]]) -> None:
    server, requests = lived
    project, token = cloud.new_project("stranger")
    stranger = Actor(cloud, token, project)
    path = f"/servers/{server}/os-instance-actions"
    assert stranger.ask("GET", path).status_code == 404
    assert stranger.ask("GET", f"{path}/{requests['create']}").status_code == 404
    assert shop.user.ask("GET", f"{path}/req-of-nobody").status_code == 404


def test_the_sdk_reads_them(cloud: Cloud, shop: Shop, lived: tuple[str, dict[str, str]]) -> None:
    server, requests = lived
    connection = openstack.connect(
        auth_url=cloud.url + "/identity/v3", username="shop", password="s3cret-shop", project_name="shop",
        user_domain_id="default", project_domain_id="default", compute_default_microversion="2.84",
    )
    actions = list(connection.compute.server_actions(server))
    assert [action.action for action in actions] == list(reversed(requests))
    shown = connection.compute.get_server_action(requests["create"], server)
    assert [event["event"] for event in shown.events] == BUILD
    connection.close()


def test_the_stock_command_reads_them(cloud: Cloud, shop: Shop, lived: tuple[str, dict[str, str]]) -> None:
    server, requests = lived
    variables = {
        "OS_AUTH_URL": cloud.url + "/identity/v3", "OS_USERNAME": "shop", "OS_PASSWORD": "s3cret-shop",
        "OS_PROJECT_NAME": "shop", "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default",
        "OS_COMPUTE_API_VERSION": "2.84",
    }
    command = Path(sys.executable).with_name("openstack")

    def run(*words: str) -> Any:
        done = subprocess.run(
            [command, *words, "-f", "json"], env=os.environ | variables, capture_output=True, timeout=120, check=True
        )
        return json.loads(done.stdout)

    listed = run("server", "event", "list", server)
    assert [item["Request ID"] for item in listed] == list(reversed(requests.values()))
    shown = run("server", "event", "show", server, requests["delete"])
    assert shown["action"] == "delete"
    assert "compute_terminate_instance" in json.dumps(shown["events"])
