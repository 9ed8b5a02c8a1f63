"""The first line of `pileus why` answers: one test per way in which a server can be refused, fail, wait or stop."""

from __future__ import annotations

import re
from typing import Any

import pytest
from actors import Actor, Shop, make_image, make_network

from cloud import Cloud
from pileus.cli import main
from pileus.services.compute.worker.agent import ComputeAgent

from .command import reason, where

NOWHERE = "99999999-9999-4999-8999-999999999999"


def _agent(cloud: Cloud) -> Any:
    assert cloud.node is not None
    return cloud.node.runtimes["compute"].get(ComputeAgent)


def _request_of(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    return answer.headers["X-Openstack-Request-Id"]


# -- refused at once: by request id ----------------------------------------------------------------------------------


def test_a_quota(cloud: Cloud, shop: Shop) -> None:
    project, token = cloud.new_project("poor")
    poor = Actor(cloud, token, project)
    body = {"quota_set": {"instances": 0}}
    assert shop.admin.ask("PUT", f"/os-quota-sets/{project}", body).status_code == 200
    network = make_network(poor, "poor-net")
    request = _request_of(shop.try_boot("x", poor, networks=[{"uuid": network}]), 403)
    assert reason(cloud, request) == f"Quota instances: 0 of 0 used in project {project}, 1 asked."


def test_a_missing_image(cloud: Cloud, shop: Shop) -> None:
    request = _request_of(shop.try_boot("x", imageRef=NOWHERE), 400)
    wanted = f"The image cannot be used: Can not find requested image (image {NOWHERE})."
    assert reason(cloud, request) == wanted


def test_an_image_that_does_not_fit(cloud: Cloud, shop: Shop) -> None:
    image = make_image(cloud, shop.admin.token, "big", visibility="public", min_ram=4096)
    request = _request_of(shop.try_boot("x", imageRef=image), 400)
    assert reason(cloud, request) == "The image cannot be used: Flavor's memory is too small for requested image."


def test_a_network_that_is_not_there(cloud: Cloud, shop: Shop) -> None:
    request = _request_of(shop.try_boot("x", networks=[{"uuid": NOWHERE}]), 400)
    assert reason(cloud, request) == (
        f"The network or port cannot be used: Network {NOWHERE} could not be found."
    )


def test_a_port_that_is_taken(cloud: Cloud, shop: Shop) -> None:
    server = shop.boot("has-port")
    shop.user.until_status(server, "ACTIVE")
    port = shop.user.network("GET", f"/ports?device_id={server}").json()["ports"][0]["id"]
    request = _request_of(shop.try_boot("x", networks=[{"port": port}]), 409)
    assert reason(cloud, request) == f"The network or port cannot be used: Port {port} is still in use."


def test_policy(cloud: Cloud, shop: Shop) -> None:
    flavor = {"flavor": {"name": "f", "ram": 1, "vcpus": 1, "disk": 0}}
    request = _request_of(shop.user.ask("POST", "/flavors", flavor), 403)
    assert reason(cloud, request).startswith("Policy refused it: Policy doesn't allow os_compute_api:os-flavor-manage")


def test_a_wrong_token(cloud: Cloud, shop: Shop) -> None:
    stranger = Actor(cloud, "gAAAAAnonsense")
    request = _request_of(stranger.ask("GET", "/servers"), 401)
    assert reason(cloud, request) == "The token was missing, wrong or expired."


def test_a_state_that_does_not_allow_it(cloud: Cloud, shop: Shop) -> None:
    server = shop.boot("running")
    shop.user.until_status(server, "ACTIVE")
    request = _request_of(shop.user.act(server, "os-start"), 409)
    assert reason(cloud, request) == f"409: Cannot 'start' instance {server} while it is in vm_state active."


def test_what_was_not_refused(cloud: Cloud, shop: Shop) -> None:
    request = _request_of(shop.user.network("POST", "/networks", {"network": {"name": "fine"}}), 201)
    assert reason(cloud, request) == "The request POST /v2.0/networks was answered 201; nothing failed."


# -- failed later: by server id and by request id --------------------------------------------------------------------


def _failed(shop: Shop, name: str, **values: Any) -> tuple[str, str]:
    answer = shop.try_boot(name, **values)
    request, server = _request_of(answer, 202), answer.json()["server"]["id"]
    shop.user.until_status(server, "ERROR")
    return server, request


@pytest.mark.parametrize(
    ("flavor", "first"),
    [
        ({"ram": 90_000_000, "vcpus": 1, "disk": 0}, r"ram turned down 1 \(needs 90000000 MiB, most free \d+ MiB"),
        ({"ram": 64, "vcpus": 100_000, "disk": 0}, r"core turned down 1 \(needs 100000 vCPUs, most free \d+ vCPUs"),
        ({"ram": 64, "vcpus": 1, "disk": 9_000_000}, r"disk turned down 1 \(needs 9000000 GiB, most free \d+ GiB"),
    ],
)
def test_no_host_has_room(cloud: Cloud, shop: Shop, flavor: dict[str, int], first: str) -> None:
    kind = shop.make_flavor(f"giant-{flavor['ram']}-{flavor['vcpus']}-{flavor['disk']}", **flavor)
    server, request = _failed(shop, "giant", flavorRef=kind)
    for target in (server, request):
        shown = reason(cloud, target)
        assert re.fullmatch(rf"No host had room: 1 host: {first} on test-host\)\.", shown), shown
    fault = shop.user.server(server)["fault"]
    assert fault["message"] == "No valid host was found. There are not enough hosts available."
    assert "turned down" not in str(fault), "the owner learns nothing of the cloud's insides"


def test_the_only_host_is_disabled(cloud: Cloud, shop: Shop) -> None:
    services = shop.admin.get("/os-services?binary=nova-compute")["services"]
    path = f"/os-services/{services[0]['id']}"
    body = {"status": "disabled", "disabled_reason": "new disk"}
    assert shop.admin.ask("PUT", path, body).status_code == 200
    try:
        server, _ = _failed(shop, "nowhere")
    finally:
        assert shop.admin.ask("PUT", path, {"status": "enabled"}).status_code == 200
    assert reason(cloud, server) == "No host was suitable: 1 host: compute turned down 1 (it is disabled (new disk))."


def test_a_refusal_of_the_network_service(cloud: Cloud, shop: Shop) -> None:
    project, token = cloud.new_project("portless")
    portless = Actor(cloud, token, project)
    quota = {"quota": {"port": 0}}
    path = f"/network/v2.0/quotas/{project}"
    assert cloud.request("PUT", path, token=shop.admin.token, json=quota).status_code == 200
    network = make_network(portless, "portless-net")
    answer = shop.try_boot("x", portless, networks=[{"uuid": network}])
    request, server = _request_of(answer, 202), answer.json()["server"]["id"]
    portless.until_status(server, "ERROR")
    wanted = f"The network service refused POST /v2.0/ports: Quota port: 0 of 0 used in project {project}, 1 asked."
    for target in (server, request):
        assert reason(cloud, target, wanted.__eq__) == wanted


def test_a_fault_of_the_host(cloud: Cloud, shop: Shop) -> None:
    _agent(cloud).hypervisor.fail_starts = 1
    server, request = _failed(shop, "unlucky")
    for target in (server, request):
        assert reason(cloud, target) == (
            "The hypervisor of host test-host failed: The hypervisor could not do it. "
            "(the fake hypervisor was told to fail this start)"
        )


def test_an_operation_that_failed_on_a_running_server(cloud: Cloud, shop: Shop) -> None:
    server = shop.boot("restarted")
    shop.user.until_status(server, "ACTIVE")
    _agent(cloud).hypervisor.fail_starts = 1
    assert shop.user.act(server, "reboot", {"type": "HARD"}).status_code == 202
    shop.user.until_status(server, "ACTIVE", "SHUTOFF", "ERROR")
    first = reason(cloud, server)
    assert "rebooting it failed: The hypervisor of host test-host failed" in first


# -- nothing failed --------------------------------------------------------------------------------------------------


def test_a_running_server(cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    server = shop.boot("fine")
    shop.user.until_status(server, "ACTIVE")
    assert reason(cloud, server) == "It is ACTIVE; nothing failed."
    assert main.main(["why", server, *where(cloud)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "It is ACTIVE; nothing failed."
    assert any("create_server done" in line for line in printed)
    assert any(f"pileus trace {server}" in line for line in printed)


def test_a_server_that_was_stopped_or_stopped_itself(cloud: Cloud, shop: Shop) -> None:
    server = shop.boot("stopping")
    shop.user.until_status(server, "ACTIVE")
    request = _request_of(shop.user.act(server, "os-stop"), 202)
    shop.user.until_status(server, "SHUTOFF")
    assert reason(cloud, server) == f"It is SHUTOFF because request {request} stopped it; nothing failed."
    shop.user.act(server, "os-start")
    shop.user.until_status(server, "ACTIVE")
    cloud.run(_power_off(cloud, server))
    shop.user.until_status(server, "SHUTOFF", timeout_s=120)
    assert reason(cloud, server).startswith("It is SHUTOFF: its guest ended by itself on host test-host")


async def _power_off(cloud: Cloud, server: str) -> None:
    _agent(cloud).hypervisor.guest_powers_itself_off(server)


def test_a_server_that_an_administrator_set_to_error(cloud: Cloud, shop: Shop) -> None:
    server = shop.boot("reset")
    shop.user.until_status(server, "ACTIVE")
    request = _request_of(shop.admin.act(server, "os-resetState", {"state": "error"}), 202)
    wanted = f"An administrator set it to ERROR, by request {request}."
    assert reason(cloud, server, wanted.__eq__) == wanted


def test_a_server_that_is_being_built_or_was_deleted_meanwhile(cloud: Cloud, shop: Shop) -> None:
    hypervisor = _agent(cloud).hypervisor
    hypervisor.latency_s = 2.0
    try:
        server = shop.boot("slow")
        first = reason(cloud, server, lambda line: "compute agent of host" in line)
        wanted = (r"It is being created: step (prepare|start) has run for \S+ s, waiting for the compute agent of host "
                  r"test-host( \(last done: .*\))?\.")
        assert re.fullmatch(wanted, first), first
        deleted = _request_of(shop.user.ask("DELETE", f"/servers/{server}"), 204)
    finally:
        hypervisor.latency_s = 0.0
    shop.user.until_gone(server, timeout_s=60)
    assert reason(cloud, server).startswith(f"It was deleted by request {deleted} at ")


def test_a_server_whose_host_does_not_answer(cloud: Cloud, shop: Shop) -> None:
    """Its agent listens no more: the step is tried again, and the reason says what is awaited."""
    hypervisor = _agent(cloud).hypervisor
    server = shop.boot("silent")
    shop.user.until_status(server, "ACTIVE")
    hypervisor.latency_s = 3.0
    try:
        assert shop.user.act(server, "os-stop").status_code == 202
        first = reason(cloud, server, lambda line: "being stopped" in line)
        assert "It is being stopped: step stop has run for" in first
        assert "waiting for the compute agent of host test-host" in first
    finally:
        hypervisor.latency_s = 0.0
    shop.user.until_status(server, "SHUTOFF", timeout_s=60)
