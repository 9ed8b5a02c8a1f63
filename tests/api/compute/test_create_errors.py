"""Requests for servers that cannot be had: the status and the words that stock clients know."""

from __future__ import annotations

import concurrent.futures
import time
from datetime import UTC, datetime

import pytest
from actors import Actor, Shop, make_image
from sqlalchemy import update

from pileus.services.compute.db import services

UNKNOWN = "11111111-2222-4333-8444-555555555555"


def refused(answer, status: int, name: str) -> str:
    assert answer.status_code == status, answer.text
    fault = answer.json()[name]
    assert fault["code"] == status
    return fault["message"]


def test_unknown_flavor_and_image(shop: Shop) -> None:
    answer = shop.try_boot("x", flavorRef="no-such")
    assert refused(answer, 400, "badRequest") == "Flavor no-such could not be found."
    assert refused(shop.try_boot("x", imageRef=UNKNOWN), 400, "badRequest") == "Can not find requested image"
    assert refused(shop.try_boot("x", imageRef="nonsense"), 400, "badRequest") == "Invalid imageRef provided."
    assert refused(shop.try_boot("x", imageRef=""), 400, "badRequest") == "Invalid imageRef provided."


def test_an_image_of_another_project_is_unknown(shop: Shop) -> None:
    private = make_image(shop.cloud, shop.admin.token, "private", visibility="private")
    assert refused(shop.try_boot("x", imageRef=private), 400, "badRequest") == "Can not find requested image"


def test_an_image_that_does_not_fit_the_flavor(shop: Shop) -> None:
    cloud, admin = shop.cloud, shop.admin.token
    needs_ram = make_image(cloud, admin, "ram", visibility="public", min_ram=65)
    message = refused(shop.try_boot("x", imageRef=needs_ram), 400, "badRequest")
    assert message == "Flavor's memory is too small for requested image."
    needs_disk = make_image(cloud, admin, "disk", visibility="public", min_disk=2)
    message = refused(shop.try_boot("x", imageRef=needs_disk), 400, "badRequest")
    assert message == (
        "Flavor's disk is smaller than the minimum size specified in image metadata. "
        "Flavor disk is 1073741824 bytes, minimum size is 2147483648 bytes."
    )
    body = {"name": "queued", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    queued = cloud.request("POST", "/image/v2/images", token=admin, json=body).json()["id"]
    assert refused(shop.try_boot("x", imageRef=queued), 400, "badRequest") == f"Image {queued} is not active."


@pytest.mark.parametrize(
    ("values", "status", "text"),
    [
        ({"networks": [{"uuid": UNKNOWN}]}, 400, f"Network {UNKNOWN} could not be found."),
        ({"networks": [{"port": UNKNOWN}]}, 400, f"Port {UNKNOWN} could not be found."),
        ({"networks": [{"uuid": "nonsense"}]}, 400, "Invalid input"),
        ({"networks": [{}]}, 400, "Bad network format: missing 'uuid'"),
        ({"networks": "all"}, 400, "Invalid input"),
        ({"key_name": "missing"}, 400, "Invalid key_name provided."),
        ({"security_groups": [{"name": "missing"}]}, 400, "Security group missing not found."),
        ({"availability_zone": "mars"}, 400, "The requested availability zone is not available"),
        ({"min_count": 3, "max_count": 2}, 400, "min_count must be <= max_count"),
        ({"min_count": 0}, 400, "min_count"),
        ({"user_data": "not base64!"}, 400, "user_data"),
        ({"user_data": "A" * 65_540}, 400, "User data too large"),
        ({"config_drive": "perhaps"}, 400, "config_drive"),
        ({"metadata": {"k": 1}}, 400, "Invalid input"),
        ({"accessIPv4": "nowhere"}, 400, "accessIPv4"),
        ({"hostname": "under_score"}, 400, "hostname"),
        ({"tags": ["a/b"]}, 400, "tags"),
        ({"unknown": 1}, 400, "unknown"),
        ({"block_device_mapping_v2": [
            {"source_type": "volume", "destination_type": "volume", "uuid": UNKNOWN, "boot_index": 0}
        ]}, 400, "Block Device Mapping is Invalid"),
        ({"trusted_image_certificates": [UNKNOWN]}, 400, "Trusted image certificates are not supported."),
    ],
)
def test_bad_values_are_refused(shop: Shop, values: dict, status: int, text: str) -> None:
    assert text in refused(shop.try_boot("bad", **values), status, "badRequest")


def test_who_may_choose_a_host(shop: Shop) -> None:
    for values in ({"availability_zone": "nova:test-host"}, {"host": "test-host"}):
        assert refused(shop.try_boot("x", **values), 403, "forbidden")
    server = shop.boot("x", shop.admin, host="test-host", networks="none")
    assert shop.admin.until_status(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] == "test-host"
    shop.admin.delete(server)
    forced = shop.boot("x", shop.admin, availability_zone="nova:test-host", networks="none")
    shop.admin.until_status(forced, "ACTIVE")
    shop.admin.delete(forced)
    assert refused(shop.try_boot("x", shop.admin, host="elsewhere"), 400, "badRequest")


def test_a_local_disk_from_an_image_is_the_same_as_imageref(shop: Shop) -> None:
    device = {"source_type": "image", "destination_type": "local", "uuid": shop.image, "boot_index": 0}
    server = shop.boot("bdm", block_device_mapping_v2=[device], networks="none")
    assert shop.admin.until_status(server, "ACTIVE")["image"]["id"] == shop.image
    shop.user.delete(server)


def test_no_valid_host_says_why_to_administrators_only(shop: Shop) -> None:
    huge = shop.make_flavor("huge", ram=100_000_000, vcpus=1, disk=0)
    shop.admin.ask("PUT", f"/os-quota-sets/{shop.user.project_id}", {"quota_set": {"ram": -1}})
    server = shop.boot("huge", flavorRef=huge)
    shown = shop.user.cloud and shop.admin.until_status(server, "ERROR")
    assert shown["fault"]["code"] == 500
    assert shown["fault"]["message"] == "No valid host was found. There are not enough hosts available."
    assert "ram turned down 1 (needs 100000000 MiB, most free " in shown["fault"]["details"]
    assert shown["OS-EXT-SRV-ATTR:host"] is None
    mine = shop.user.server(server)
    assert mine["status"] == "ERROR"
    assert "details" not in mine["fault"]
    shop.user.delete(server)
    shop.admin.ask("DELETE", f"/os-quota-sets/{shop.user.project_id}")


def test_a_server_waits_for_hosts_that_have_been_silent(shop: Shop) -> None:
    """As after an outage of the broker: its hosts report again, but the request is there first."""
    assert shop.cloud.node is not None
    agents = update(services.SERVICES).where(services.SERVICES.c.binary == services.COMPUTE)
    silence = agents.values(last_seen_at=datetime(2001, 1, 1, tzinfo=UTC))
    database = shop.cloud.node.runtimes["compute"].db
    shop.cloud.run(database.write(lambda tx: tx.execute(silence) and None))
    server = shop.boot("early", networks="none")
    time.sleep(1)  # the first look at the hosts is over; without waiting the server would be in ERROR
    shop.cloud.run(database.write(services.beat, "test-host", services.COMPUTE))
    assert shop.admin.until_status(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] == "test-host"
    shop.user.delete(server)


def test_the_quota_is_kept_by_thirty_at_once(shop: Shop) -> None:
    project, token = shop.cloud.new_project("crowd")
    crowd = Actor(shop.cloud, token, project)
    limit = {"quota_set": {"instances": 20, "cores": 25}}
    assert shop.admin.ask("PUT", f"/os-quota-sets/{project}", limit).status_code == 200
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: shop.try_boot(f"c{n}", crowd, networks="none"), range(30)))
    accepted = [a.json()["server"]["id"] for a in answers if a.status_code == 202]
    assert len(accepted) == 20
    for answer in answers:
        if answer.status_code != 202:
            assert refused(answer, 403, "forbidden") == (
                "Quota exceeded for instances: Requested 1, but already used 20 of 20 instances"
            )
    for server in accepted:
        shop.admin.until_status(server, "ACTIVE")
    detail = crowd.get(f"/os-quota-sets/{project}/detail")["quota_set"]
    assert detail["instances"] == {"limit": 20, "in_use": 20, "reserved": 0}
    assert detail["cores"]["in_use"] == 20
    low = shop.admin.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": {"instances": 5}})
    assert low.status_code == 400
    forced = shop.admin.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": {"instances": 5, "force": True}})
    assert forced.status_code == 200
    for server in accepted:
        crowd.ask("DELETE", f"/servers/{server}")
    for server in accepted:
        crowd.until_gone(server)


def test_fewer_than_max_count_but_never_fewer_than_min_count(shop: Shop) -> None:
    project, token = shop.cloud.new_project("few")
    few = Actor(shop.cloud, token, project)
    shop.admin.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": {"cores": 3}})
    answer = shop.try_boot("f", few, networks="none", min_count=4, max_count=5)
    assert refused(answer, 403, "forbidden") == (
        "Quota exceeded for cores: Requested 5, but already used 0 of 3 cores"
    )
    assert few.get("/servers")["servers"] == []
    assert shop.try_boot("f", few, networks="none", min_count=2, max_count=5).status_code == 202
    made = few.get("/servers")["servers"]
    assert len(made) == 3
    for server in made:
        shop.admin.until_status(server["id"], "ACTIVE")
        few.delete(server["id"])


def test_bodies_that_are_no_request(shop: Shop) -> None:
    def send(data: bytes):
        return shop.cloud.request("POST", "/compute/v2.1/servers", token=shop.user.token, data=data)

    assert refused(send(b"{"), 400, "badRequest")
    assert refused(send(b"[]"), 400, "badRequest")
    assert refused(send(b'{"servers": {}}'), 400, "badRequest")
    assert refused(send(b"x" * 200_000), 413, "overLimit")
    assert shop.cloud.request("POST", "/compute/v2.1/servers", data=b"{}").status_code == 401
    wrong = shop.cloud.request("GET", "/compute/v2.1/servers", token="nonsense")
    assert wrong.status_code == 401
    assert "unauthorized" in wrong.json()


def test_versions_that_are_not_offered(shop: Shop) -> None:
    assert refused(shop.user.ask("GET", "/servers", version="2.999"), 406, "computeFault")
    assert refused(shop.user.ask("GET", "/servers", version="two"), 400, "badRequest")
    for root in ("/compute/", "/compute/v2.1", "/compute/v2.1/"):
        assert shop.cloud.request("GET", root).status_code == 200
    document = shop.cloud.request("GET", "/compute/v2.1").json()["version"]
    assert document["min_version"] == "2.1"
    assert document["id"] == "v2.1"
    assert document["status"] == "CURRENT"
    assert document["links"][0]["href"].endswith("/compute/v2.1/")


def test_a_build_that_fails_leaves_nothing_and_says_why(shop: Shop) -> None:
    from pileus.services.compute.worker.agent import ComputeAgent

    agent = shop.cloud.node.runtimes["compute"].get(ComputeAgent)
    agent.hypervisor.fail_starts = 1
    server = shop.boot("unlucky")
    shown = shop.admin.until_status(server, "ERROR")
    assert shown["fault"]["message"].startswith(f"Build of instance {server} aborted: ")
    assert shop.user.network("GET", f"/ports?device_id={server}").json()["ports"] == []
    claim = shop.cloud.request("GET", f"/placement/allocations/{server}", token=shop.admin.token).json()
    assert claim["allocations"] == {}
    assert not list((shop.cloud.state_dir / "compute").glob(f"**/{server}/*"))
    action = shop.user.get(f"/servers/{server}/os-instance-actions")["instanceActions"][0]
    assert action["message"] == "Error"
    assert shop.user.act(server, "os-start").status_code == 409
    shop.user.delete(server)
