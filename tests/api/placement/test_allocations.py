"""Claims: all or nothing, never more than there is, and guarded by the consumer's generation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .client import Placement, new_id

SERVICES = ("identity", "placement")
CONFLICT = "placement.concurrent_update"
SLOTS, CLAIMANTS = 20, 50


def _held(placement: Placement, consumer: str) -> dict[str, Any]:
    return placement.ok("GET", f"/allocations/{consumer}")


def test_a_claim_is_shown_from_both_sides(placement: Placement) -> None:
    host = placement.provider(inventory={"VCPU": 4, "MEMORY_MB": 1024})
    consumer = placement.claim({host: {"VCPU": 2, "MEMORY_MB": 512}})
    held = _held(placement, consumer)
    assert held["allocations"][host]["resources"] == {"VCPU": 2, "MEMORY_MB": 512}
    assert (held["project_id"], held["user_id"], held["consumer_type"]) == ("p1", "u1", "INSTANCE")
    assert held["consumer_generation"] == 1
    given = placement.ok("GET", f"/resource_providers/{host}/allocations")["allocations"]
    assert given == {consumer: {"resources": {"VCPU": 2, "MEMORY_MB": 512}, "consumer_generation": 1}}
    assert placement.used(host) == {"VCPU": 2, "MEMORY_MB": 512}
    placement.ok("DELETE", f"/allocations/{consumer}")
    assert _held(placement, consumer) == {"allocations": {}}
    assert placement.used(host) == {"VCPU": 0, "MEMORY_MB": 0}
    assert placement.error("DELETE", f"/allocations/{consumer}")[0] == 404


def test_the_last_slots_go_to_exactly_as_many_as_there_are(placement: Placement) -> None:
    host = placement.provider(inventory={"VCPU": SLOTS, "MEMORY_MB": 100_000})

    def claim(_: int) -> int:
        body = placement.claim_body({host: {"VCPU": 1, "MEMORY_MB": 64}})
        return placement.send("PUT", f"/allocations/{new_id()}", body).status_code

    with ThreadPoolExecutor(CLAIMANTS) as pool:
        results = list(pool.map(claim, range(CLAIMANTS)))
    assert sorted(set(results)) == [204, 409]
    assert results.count(204) == SLOTS
    assert placement.used(host) == {"VCPU": SLOTS, "MEMORY_MB": SLOTS * 64}


def test_one_consumer_claimed_by_many_at_once_is_claimed_once(placement: Placement) -> None:
    host, consumer = placement.provider(inventory={"VCPU": 100}), new_id()

    def claim(_: int) -> int:
        return placement.send("PUT", f"/allocations/{consumer}", placement.claim_body({host: {"VCPU": 1}})).status_code

    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(claim, range(10)))
    assert results.count(204) == 1
    assert placement.used(host) == {"VCPU": 1}


def test_a_claim_on_two_providers_is_all_or_nothing(placement: Placement) -> None:
    host, store = placement.provider(inventory={"VCPU": 4}), placement.provider(inventory={"DISK_GB": 10})
    consumer = new_id()
    body = placement.claim_body({host: {"VCPU": 1}, store: {"DISK_GB": 11}})
    assert placement.error("PUT", f"/allocations/{consumer}", body)[0] == 409
    assert placement.used(host) == {"VCPU": 0}
    assert _held(placement, consumer) == {"allocations": {}}


@pytest.mark.parametrize(
    ("record", "amount"),
    [
        ({"total": 10, "reserved": 4}, 7),
        ({"total": 10, "allocation_ratio": 1.5}, 16),
        ({"total": 10, "max_unit": 4}, 5),
        ({"total": 10, "min_unit": 4}, 3),
        ({"total": 10, "step_size": 4}, 6),
    ],
)
def test_inventory_limits_are_kept(placement: Placement, record: dict[str, Any], amount: int) -> None:
    host = placement.provider(inventory={"VCPU": record})
    status, _, text = placement.error("PUT", f"/allocations/{new_id()}", placement.claim_body({host: {"VCPU": amount}}))
    assert (status, text.startswith("Unable to allocate inventory")) == (409, True)
    assert placement.used(host) == {"VCPU": 0}


def test_a_ratio_gives_out_more_than_there_is(placement: Placement) -> None:
    host = placement.provider(inventory={"VCPU": {"total": 2, "allocation_ratio": 2.5}})
    placement.claim({host: {"VCPU": 5}})
    assert placement.error("PUT", f"/allocations/{new_id()}", placement.claim_body({host: {"VCPU": 1}}))[0] == 409


def test_a_provider_that_shrank_may_still_be_given_back_to(placement: Placement) -> None:
    host = placement.provider(inventory={"VCPU": 8})
    consumer = placement.claim({host: {"VCPU": 6}})
    generation = placement.ok("GET", f"/resource_providers/{host}")["generation"]
    path = f"/resource_providers/{host}/inventories/VCPU"
    placement.ok("PUT", path, {"resource_provider_generation": generation, "total": 2})
    assert placement.error("PUT", f"/allocations/{consumer}", placement.claim_body({host: {"VCPU": 7}}, 1))[0] == 409
    placement.claim({host: {"VCPU": 4}}, consumer, generation=1)
    assert placement.used(host) == {"VCPU": 4}


def test_consumer_generations_guard_against_lost_updates(placement: Placement) -> None:
    first, second = (placement.provider(inventory={"VCPU": 4}) for _ in range(2))
    consumer = placement.claim({first: {"VCPU": 1}})
    path = f"/allocations/{consumer}"
    for stale in (None, 0, 2):
        assert placement.error("PUT", path, placement.claim_body({second: {"VCPU": 1}}, stale))[:2] == (409, CONFLICT)
    placement.claim({second: {"VCPU": 1}}, consumer, generation=1)
    assert (placement.used(first), placement.used(second)) == ({"VCPU": 0}, {"VCPU": 1})
    placement.ok("PUT", path, placement.claim_body({}, 2))
    assert _held(placement, consumer) == {"allocations": {}}
    unknown = placement.claim_body({first: {"VCPU": 1}}, 5)
    assert placement.error("PUT", f"/allocations/{new_id()}", unknown)[:2] == (409, CONFLICT)


def test_several_consumers_change_together(placement: Placement) -> None:
    source, target = placement.provider(inventory={"VCPU": 4}), placement.provider(inventory={"VCPU": 4})
    server, migration = placement.claim({source: {"VCPU": 4}}), new_id()
    move = {
        migration: placement.claim_body({source: {"VCPU": 4}}, consumer_type="MIGRATION"),
        server: placement.claim_body({target: {"VCPU": 4}}, 1),
    }
    placement.ok("POST", "/allocations", move)
    assert (placement.used(source), placement.used(target)) == ({"VCPU": 4}, {"VCPU": 4})
    bad = {
        migration: placement.claim_body({}, 1),
        server: placement.claim_body({source: {"VCPU": 5}}, 2),
    }
    assert placement.error("POST", "/allocations", bad)[0] == 409
    assert _held(placement, migration)["allocations"][source]["resources"] == {"VCPU": 4}


def test_a_consumer_stands_in_a_request_once(placement: Placement) -> None:
    host, consumer = placement.provider(inventory={"VCPU": 4}), new_id()
    body = placement.claim_body({host: {"VCPU": 1}})
    assert placement.error("POST", "/allocations", {consumer: body, consumer.upper(): body})[0] == 400
    placement.ok("POST", "/allocations", {consumer.upper(): body})
    assert _held(placement, consumer)["allocations"][host]["resources"] == {"VCPU": 1}


def test_an_absurd_ratio_breaks_nothing(placement: Placement) -> None:
    absurd = {"total": 2**31 - 1, "allocation_ratio": 3e38}
    host = placement.provider(inventory={"VCPU": absurd, "DISK_GB": {"total": 1, "allocation_ratio": -1.0}})
    placement.claim({host: {"VCPU": 5}})
    summaries = placement.ok("GET", f"/allocation_candidates?resources=VCPU:1&in_tree={host}")["provider_summaries"]
    assert summaries[host]["resources"]["VCPU"]["used"] == 5
    assert placement.error("PUT", f"/allocations/{new_id()}", placement.claim_body({host: {"DISK_GB": 1}}))[0] == 409


def test_the_forms_of_old_versions(placement: Placement) -> None:
    host, consumer = placement.provider(inventory={"VCPU": 4}), new_id()
    path = f"/allocations/{consumer}"
    old = {"allocations": [{"resource_provider": {"uuid": host}, "resources": {"VCPU": 1}}]}
    placement.ok("PUT", path, old, version="1.0")
    assert set(placement.ok("GET", path, version="1.0")) == {"allocations"}
    assert placement.error("PUT", path, old, version="1.8")[0] == 400
    placement.ok("PUT", path, old | {"project_id": "p", "user_id": "u"}, version="1.8")
    assert placement.error("PUT", path, old | {"project_id": "p", "user_id": "u"}, version="1.12")[0] == 400
    new = {"allocations": {host: {"resources": {"VCPU": 2}}}, "project_id": "p", "user_id": "u"}
    placement.ok("PUT", path, new, version="1.12")
    assert placement.error("PUT", path, new | {"consumer_generation": 3}, version="1.27")[0] == 400
    assert placement.error("PUT", path, new, version="1.28")[0] == 400
    assert placement.error("PUT", path, new | {"consumer_generation": 3}, version="1.38")[0] == 400
    assert placement.ok("GET", path)["consumer_type"] == "unknown"
    assert placement.used(host) == {"VCPU": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"allocations": {"nope": {"resources": {"VCPU": 1}}}},
        {"allocations": {new_id(): {"resources": {"VCPU": 1}}}},
        {"allocations": {new_id(): {"resources": {}}}},
        {"allocations": {new_id(): {"resources": {"VCPU": 0}}}},
        {"project_id": ""},
        {"user_id": "x" * 256},
        {"consumer_type": "lower"},
        {"consumer_generation": "1"},
        {"mappings": {}},
        {"colour": "red"},
    ],
)
def test_bad_claims_are_refused(placement: Placement, change: dict[str, Any]) -> None:
    host = placement.provider(inventory={"VCPU": 4})
    body = placement.claim_body({host: {"VCPU": 1}}) | change
    assert placement.error("PUT", f"/allocations/{new_id()}", body)[0] == 400
    assert placement.used(host) == {"VCPU": 0}


def test_a_consumer_is_a_uuid_with_or_without_dashes(placement: Placement) -> None:
    host = placement.provider(inventory={"VCPU": 4})
    body = placement.claim_body({host: {"VCPU": 1}})
    assert placement.error("PUT", "/allocations/nope", body)[0] == 400
    consumer = new_id()
    placement.ok("PUT", f"/allocations/{consumer.replace('-', '')}", body)
    assert _held(placement, consumer)["allocations"][host]["resources"] == {"VCPU": 1}


def test_usages_by_project_user_and_type(placement: Placement) -> None:
    host, project = placement.provider(inventory={"VCPU": 50, "DISK_GB": 50}), new_id()
    placement.claim({host: {"VCPU": 1, "DISK_GB": 5}}, project_id=project, user_id="ann")
    placement.claim({host: {"VCPU": 2}}, project_id=project, user_id="bob")
    placement.claim({host: {"VCPU": 4}}, project_id=project, user_id="bob", consumer_type="MIGRATION")
    usages = f"/usages?project_id={project}"
    assert placement.ok("GET", usages, version="1.9") == {"usages": {"VCPU": 7, "DISK_GB": 5}}
    assert placement.ok("GET", usages)["usages"] == {
        "INSTANCE": {"VCPU": 3, "DISK_GB": 5, "consumer_count": 2}, "MIGRATION": {"VCPU": 4, "consumer_count": 1},
    }
    assert placement.ok("GET", usages + "&user_id=bob&consumer_type=INSTANCE")["usages"] == {
        "INSTANCE": {"VCPU": 2, "consumer_count": 1}
    }
    assert placement.ok("GET", usages + "&consumer_type=all")["usages"] == {
        "all": {"VCPU": 7, "DISK_GB": 5, "consumer_count": 3}
    }
    assert placement.error("GET", "/usages")[0] == 400


def test_reshaping_moves_inventory_with_what_is_given_out(placement: Placement) -> None:
    host = placement.provider(inventory={"VCPU": 8, "MEMORY_MB": 1024})
    consumer = placement.claim({host: {"VCPU": 8, "MEMORY_MB": 512}})
    numa = placement.provider(parent=host)
    generation = placement.ok("GET", f"/resource_providers/{host}")["generation"]
    shelves = {
        host: {"resource_provider_generation": generation, "inventories": {"MEMORY_MB": {"total": 1024}}},
        numa: {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8}}},
    }
    cloud = placement.cloud
    assert cloud.node is not None
    service = Placement(cloud, cloud.run(cloud.node.runtimes["placement"].session.token()))
    forgotten = {"inventories": shelves, "allocations": {}}
    assert service.error("POST", "/reshaper", forgotten)[:2] == (409, "placement.inventory.inuse")
    assert placement.used(host) == {"VCPU": 8, "MEMORY_MB": 512}
    moved = placement.claim_body({host: {"MEMORY_MB": 512}, numa: {"VCPU": 8}}, 1)
    assert placement.error("POST", "/reshaper", {"inventories": shelves, "allocations": {consumer: moved}})[0] == 403
    service.ok("POST", "/reshaper", {"inventories": shelves, "allocations": {consumer: moved}})
    assert placement.used(host) == {"MEMORY_MB": 512}
    assert placement.used(numa) == {"VCPU": 8}
    assert service.error("POST", "/reshaper", {"inventories": shelves, "allocations": {}})[:2] == (409, CONFLICT)
    unknown = {new_id(): {"resource_provider_generation": 0, "inventories": {}}}
    assert service.error("POST", "/reshaper", {"inventories": unknown, "allocations": {}})[:2] == (
        400, "placement.resource_provider.not_found",
    )
