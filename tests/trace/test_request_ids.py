"""Every answer carries a request id of its own, whatever went wrong; a client's own is taken over when well-formed."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from actors import Shop

from cloud import Cloud
from pileus.kernel import context
from pileus.kernel.observe.logs import RequestIds
from pileus.services.compute.worker.agent import ComputeAgent

from .command import hops_of, reason

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SERVICES_WITH_PATHS = {
    "identity": "/v3/users", "placement": "/resource_providers", "image": "/v2/images", "compute": "/v2.1/servers",
    "network": "/v2.0/ports",
}
NOWHERE = "99999999-9999-4999-8999-999999999999"
HUGE = b'{"x": "' + b"x" * 2_000_000 + b'"}'
JSON = {"Content-Type": "application/json"}

WAYS: list[tuple[str, str, int, dict[str, Any]]] = [
    ("GET", "", 200, {}),
    ("GET", "", 401, {"token": None}),
    ("GET", "", 401, {"token": "gAAAAAnonsense"}),
    ("GET", "/no/such/path/at/all", 404, {}),
    ("PATCH", "", 405, {}),
    ("POST", "", 400, {"data": b"{", "headers": JSON}),
    ("POST", "", 413, {"data": HUGE, "headers": JSON}),
]


@pytest.mark.parametrize("service", SERVICES_WITH_PATHS)
@pytest.mark.parametrize("way", WAYS, ids=[f"{way[0]} {way[2]} {number}" for number, way in enumerate(WAYS)])
def test_each_answer_of_each_service_has_its_own(cloud: Cloud, shop: Shop, service: str, way: Any) -> None:
    method, path, status, more = way
    options = {"token": shop.admin.token} | more
    seen = set()
    for _ in range(2):
        answer = cloud.request(method, f"/{service}{SERVICES_WITH_PATHS[service]}{path}", **options)
        assert answer.status_code == status, answer.text[:300]
        assert REQUEST_ID.fullmatch(answer.headers["X-Openstack-Request-Id"])
        seen.add(answer.headers["X-Openstack-Request-Id"])
    assert len(seen) == 2


@pytest.mark.parametrize("path", ["/", "/nothing", "/compute", "/identity/v3"])
def test_documents_and_unknown_places_have_one(cloud: Cloud, path: str) -> None:
    assert REQUEST_ID.fullmatch(cloud.request("GET", path).headers["X-Openstack-Request-Id"])


def test_streams_have_one(cloud: Cloud, shop: Shop) -> None:
    path = f"/image/v2/images/{shop.image}/file"
    for method, more in (("GET", {}), ("PUT", {"data": b"x", "headers": {"Content-Type": "application/octet-stream"}})):
        answer = cloud.request(method, path, token=shop.admin.token, **more)
        assert REQUEST_ID.fullmatch(answer.headers["X-Openstack-Request-Id"]), answer.status_code


def test_compute_says_it_in_its_old_header_too(shop: Shop) -> None:
    answer = shop.user.ask("GET", "/servers")
    assert answer.headers["x-compute-request-id"] == answer.headers["X-Openstack-Request-Id"]


@pytest.mark.parametrize(
    "given",
    ["req-" + "x" * 36, "req-" + "-" * 36, "anything", "req-" + NOWHERE.replace("9", "A"), f"req-{NOWHERE}\t",
     f"req-{NOWHERE}-1", NOWHERE],
)
def test_an_id_that_is_not_well_formed_is_ignored(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    headers = {"X-OpenStack-Request-ID": given}
    body = {"network": {"name": "asked oddly"}}
    answer = cloud.request("POST", "/network/v2.0/networks", token=shop.user.token, json=body, headers=headers)
    assert answer.status_code == 201
    request = answer.headers["X-Openstack-Request-Id"]
    assert request != given
    assert hops_of(cloud, capsys, request)[0]["global_request_id"] == ""


def test_a_well_formed_one_is_kept_and_passed_on(
    cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = context.new_request_id()
    headers = {"X-OpenStack-Request-ID": mine, "OpenStack-API-Version": "compute 2.96"}
    body = {"server": {"name": "x", "flavorRef": shop.flavor, "imageRef": NOWHERE, "networks": "none"}}
    answer = cloud.request("POST", "/compute/v2.1/servers", token=shop.user.token, json=body, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["X-Openstack-Request-Id"] != mine
    assert reason(cloud, mine) == f"The image cannot be used: Can not find requested image (image {NOWHERE})."
    hops = hops_of(cloud, capsys, mine)
    assert {hop["role"] for hop in hops} == {"compute-api", "image-api"}, "the sibling that was asked knew it"
    assert {hop["global_request_id"] for hop in hops} == {mine}


def test_every_roles_log_lines_name_it(cloud: Cloud, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    written = _Written()
    assert cloud.node is not None
    cloud.node.runtimes["compute"].get(ComputeAgent).hypervisor.fail_starts = 1  # type: ignore[attr-defined]
    logging.getLogger().addHandler(written)
    try:
        answer = shop.try_boot("logged")
        shop.user.until_status(answer.json()["server"]["id"], "ERROR")
    finally:
        logging.getLogger().removeHandler(written)
    request = answer.headers["X-Openstack-Request-Id"]
    own = {name for name, ids in written.lines if ids[0] == request}
    assert "pileus.services.compute.worker.agent" in own, "the agent on the host"
    assert "pileus.services.compute.flows.placing" in own, "the conductor"
    assert request in {ids[1] for _, ids in written.lines}, "siblings name it as the global one"


class _Written(logging.Handler):
    """Which logger wrote under which request ids."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, tuple[str, str]]] = []
        self.addFilter(RequestIds())

    def emit(self, record: logging.LogRecord) -> None:
        ids: Any = record.__dict__
        self.lines.append((record.name, (ids["request_id"], ids["global_request_id"])))


def test_reading_and_polling_are_not_recorded(cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    mine = context.new_request_id()
    headers = {"X-OpenStack-Request-ID": mine}
    for path in ("/compute/v2.1/servers", "/network/v2.0/ports", "/identity/v3"):
        assert cloud.request("GET", path, token=shop.user.token, headers=headers).status_code == 200
    made = cloud.request("POST", "/network/v2.0/networks", token=shop.user.token, headers=headers,
                         json={"network": {"name": "counted"}})
    assert made.status_code == 201
    assert [hop["name"] for hop in hops_of(cloud, capsys, mine)] == ["POST /v2.0/networks"]
