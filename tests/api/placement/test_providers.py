"""Resource providers, their trees, filters, traits, aggregates and inventories."""

from __future__ import annotations

import pytest

from .client import Placement, new_id

SERVICES = ("identity", "placement")
CONFLICT = "placement.concurrent_update"


def _listed(placement: Placement, query: str, version: str = "1.39") -> set[str]:
    found = placement.ok("GET", f"/resource_providers?{query}", version=version)
    return {provider["uuid"] for provider in found["resource_providers"]}


def test_a_provider_is_made_shown_renamed_and_deleted(placement: Placement) -> None:
    uuid = new_id()
    made = placement.send("POST", "/resource_providers", {"name": "first", "uuid": uuid})
    assert made.status_code == 200
    assert made.headers["Location"].endswith(f"/placement/resource_providers/{uuid}")
    assert made.headers["Cache-Control"] == "no-cache"
    assert made.headers["Last-Modified"].endswith("GMT")
    assert made.json()["root_provider_uuid"] == uuid
    assert made.json()["parent_provider_uuid"] is None
    shown = placement.ok("GET", f"/resource_providers/{uuid}")
    rels = {link["rel"]: link["href"] for link in shown["links"]}
    assert rels["self"] == f"/placement/resource_providers/{uuid}"
    assert set(rels) == {"self", "inventories", "usages", "aggregates", "traits", "allocations"}
    placement.ok("PUT", f"/resource_providers/{uuid}", {"name": "renamed"})
    assert _listed(placement, "name=renamed") == {uuid}
    placement.ok("DELETE", f"/resource_providers/{uuid}")
    assert placement.error("GET", f"/resource_providers/{uuid}")[0] == 404
    assert placement.error("DELETE", f"/resource_providers/{uuid}")[0] == 404


def test_old_versions_answer_as_they_did(placement: Placement) -> None:
    made = placement.send("POST", "/resource_providers", {"name": "old-style"}, version="1.0")
    assert (made.status_code, made.content) == (201, b"")
    path = "/resource_providers/" + made.headers["Location"].rsplit("/", 1)[-1]
    shown = placement.send("GET", path, version="1.0")
    assert set(shown.json()) == {"uuid", "name", "generation", "links"}
    assert "Last-Modified" not in shown.headers
    assert placement.error("GET", path + "/aggregates", version="1.0")[0] == 404
    assert placement.error("POST", "/resource_providers", {"name": "x", "parent_provider_uuid": None}, version="1.13")[
        0
    ] == 400


def test_names_and_ids_are_unique(placement: Placement) -> None:
    uuid = placement.provider("taken")
    assert placement.error("POST", "/resource_providers", {"name": "taken"})[:2] == (409, "placement.duplicate_name")
    assert placement.error("POST", "/resource_providers", {"name": "other", "uuid": uuid})[0] == 409
    plain = {"name": "other", "uuid": uuid.replace("-", "")}
    assert placement.error("POST", "/resource_providers", plain)[0] == 409


@pytest.mark.parametrize(
    "body", [{}, {"name": 1}, {"name": "x" * 201}, {"name": "x", "uuid": "nope"}, {"name": "x", "colour": "red"}, []]
)
def test_bad_bodies_are_refused(placement: Placement, body: object) -> None:
    assert placement.error("POST", "/resource_providers", body)[0] == 400


def test_trees_have_roots_and_may_be_moved(placement: Placement) -> None:
    root, other = placement.provider(), placement.provider()
    child = placement.provider(parent=root)
    grandchild = placement.provider(parent=child)
    assert _listed(placement, f"in_tree={grandchild}") == {root, child, grandchild}
    assert placement.error("DELETE", f"/resource_providers/{child}")[:2] == (
        409, "placement.resource_provider.cannot_delete_parent",
    )
    name = placement.ok("GET", f"/resource_providers/{child}")["name"]
    move = {"name": name, "parent_provider_uuid": other}
    assert placement.error("PUT", f"/resource_providers/{child}", move, version="1.36")[0] == 400
    placement.ok("PUT", f"/resource_providers/{child}", move)
    assert _listed(placement, f"in_tree={other}") == {other, child, grandchild}
    assert _listed(placement, f"in_tree={root}") == {root}
    loop = {"name": name, "parent_provider_uuid": grandchild}
    assert placement.error("PUT", f"/resource_providers/{child}", loop)[0] == 400
    placement.ok("PUT", f"/resource_providers/{child}", {"name": name, "parent_provider_uuid": None})
    assert placement.ok("GET", f"/resource_providers/{grandchild}")["root_provider_uuid"] == child


def test_filters_on_lists(placement: Placement) -> None:
    one, two = new_id(), new_id()
    traits = ("HW_CPU_X86_AVX2", "HW_CPU_X86_SSE")
    both = placement.provider(inventory={"VCPU": 8}, traits=traits, aggregates=(one, two))
    small = {"VCPU": {"total": 8, "max_unit": 2}}
    left = placement.provider(inventory=small, traits=traits[1:], aggregates=(one,))
    mine = {both, left}
    assert _listed(placement, f"member_of={one}") == mine
    assert _listed(placement, f"member_of={one}&member_of={two}") == {both}
    assert _listed(placement, f"member_of=in:{one},{two}&member_of=!{two}") == {left}
    assert _listed(placement, "required=HW_CPU_X86_SSE") & mine == mine
    assert _listed(placement, "required=HW_CPU_X86_SSE,!HW_CPU_X86_AVX2") & mine == {left}
    assert _listed(placement, "required=in:HW_CPU_X86_AVX2,HW_CPU_X86_VMX") & mine == {both}
    assert _listed(placement, "resources=VCPU:4") & mine == {both}
    assert _listed(placement, f"uuid={left}&resources=VCPU:2") == {left}
    placement.claim({both: {"VCPU": 6}})
    assert _listed(placement, "resources=VCPU:4") & mine == set()


@pytest.mark.parametrize(
    "query",
    ["colour=red", "uuid=nope", "member_of=nope", "resources=VCPU", "resources=VCPU:0", "resources=PONIES:1",
     "required=", "required=NO_SUCH_TRAIT", "required=HW_CPU_X86_SSE,!HW_CPU_X86_SSE", "in_tree=x", "name=a&name=b"],
)
def test_bad_filters_are_refused(placement: Placement, query: str) -> None:
    assert placement.error("GET", f"/resource_providers?{query}")[0] == 400


def test_writing_with_an_old_generation_is_a_conflict(placement: Placement) -> None:
    uuid = placement.provider(inventory={"VCPU": 4})
    own = f"/resource_providers/{uuid}"
    stale = {"resource_provider_generation": 0}
    for path, body in (
        ("/inventories", {"inventories": {"VCPU": {"total": 5}}}),
        ("/inventories/VCPU", {"total": 5}),
        ("/traits", {"traits": []}),
        ("/aggregates", {"aggregates": []}),
    ):
        assert placement.error("PUT", own + path, stale | body)[:2] == (409, CONFLICT), path
    assert placement.ok("GET", own + "/inventories/VCPU")["total"] == 4


def test_inventories_are_checked(placement: Placement) -> None:
    uuid = placement.provider(inventory={"VCPU": 4, "DISK_GB": {"total": 100, "reserved": 10, "allocation_ratio": 1.5}})
    own = f"/resource_providers/{uuid}"
    found = placement.ok("GET", own + "/inventories")
    assert found["inventories"]["DISK_GB"] == {
        "total": 100, "reserved": 10, "min_unit": 1, "max_unit": 2147483647, "step_size": 1, "allocation_ratio": 1.5,
    }
    generation = found["resource_provider_generation"]

    def put(record: dict[str, object], name: str = "VCPU", version: str = "1.39") -> int:
        body = {"resource_provider_generation": generation, "inventories": {name: record}}
        return placement.send("PUT", own + "/inventories", body, version=version).status_code

    assert put({"total": 0}) == 400
    assert put({"total": 4, "step_size": 0}) == 400
    assert put({"total": 4, "reserved": 5}) == 400
    assert put({"total": 4, "reserved": 4}, version="1.25") == 400
    assert put({"total": 4}, name="CUSTOM_UNHEARD_OF") == 400
    assert put({"total": 4}, name="lower") == 400
    assert put({"total": 2**31}) == 400
    assert put({"total": 4, "reserved": 4}) == 200


def test_inventory_in_use_stays(placement: Placement) -> None:
    uuid = placement.provider(inventory={"VCPU": 4, "DISK_GB": 10})
    own = f"/resource_providers/{uuid}"
    consumer = placement.claim({uuid: {"VCPU": 1}})
    in_use = (409, "placement.inventory.inuse")
    assert placement.error("DELETE", own + "/inventories/VCPU")[:2] == in_use
    assert placement.error("DELETE", own + "/inventories")[:2] == in_use
    generation = placement.ok("GET", own)["generation"]
    only_disk = {"resource_provider_generation": generation, "inventories": {"DISK_GB": {"total": 10}}}
    assert placement.error("PUT", own + "/inventories", only_disk)[:2] == in_use
    assert placement.error("DELETE", own)[:2] == (409, "placement.resource_provider.inuse")
    placement.ok("DELETE", own + "/inventories/DISK_GB")
    placement.ok("DELETE", f"/allocations/{consumer}")
    placement.ok("DELETE", own + "/inventories")
    assert placement.ok("GET", own + "/inventories")["inventories"] == {}
    placement.ok("DELETE", own)


def test_traits(placement: Placement) -> None:
    assert placement.send("PUT", "/traits/CUSTOM_SHINY").status_code == 201
    assert placement.send("PUT", "/traits/CUSTOM_SHINY").status_code == 204
    assert placement.send("GET", "/traits/CUSTOM_SHINY").status_code == 204
    assert placement.send("GET", "/traits/CUSTOM_DULL").status_code == 404
    assert placement.error("PUT", "/traits/SHINY")[0] == 400
    assert placement.error("PUT", "/traits/CUSTOM_shiny")[0] == 400
    uuid = placement.provider(traits=("CUSTOM_SHINY", "HW_CPU_X86_VMX"))
    assert placement.ok("GET", f"/resource_providers/{uuid}/traits")["traits"] == ["CUSTOM_SHINY", "HW_CPU_X86_VMX"]
    assert placement.ok("GET", "/traits?name=startswith:CUSTOM_SH")["traits"] == ["CUSTOM_SHINY"]
    assert "CUSTOM_SHINY" in placement.ok("GET", "/traits?associated=true")["traits"]
    assert "CUSTOM_SHINY" not in placement.ok("GET", "/traits?associated=false")["traits"]
    assert len(placement.ok("GET", "/traits")["traits"]) > 300
    assert placement.error("GET", "/traits?associated=maybe")[0] == 400
    assert placement.error("GET", "/traits?name=x")[0] == 400
    assert placement.error("DELETE", "/traits/CUSTOM_SHINY")[0] == 409
    assert placement.error("DELETE", "/traits/HW_CPU_X86_VMX")[0] == 400
    body = {"resource_provider_generation": 1, "traits": ["CUSTOM_DULL"]}
    assert placement.error("PUT", f"/resource_providers/{uuid}/traits", body)[0] == 400
    placement.ok("DELETE", f"/resource_providers/{uuid}/traits")
    placement.ok("DELETE", "/traits/CUSTOM_SHINY")


def test_resource_classes(placement: Placement) -> None:
    names = [item["name"] for item in placement.ok("GET", "/resource_classes")["resource_classes"]]
    assert names[:3] == ["VCPU", "MEMORY_MB", "DISK_GB"]
    assert placement.send("POST", "/resource_classes", {"name": "CUSTOM_GOLD"}).status_code == 201
    assert placement.error("POST", "/resource_classes", {"name": "CUSTOM_GOLD"})[0] == 409
    assert placement.error("POST", "/resource_classes", {"name": "GOLD"})[0] == 400
    assert placement.send("PUT", "/resource_classes/CUSTOM_GOLD").status_code == 204
    assert placement.error("PUT", "/resource_classes/VCPU")[0] == 400
    uuid = placement.provider(inventory={"CUSTOM_GOLD": 4})
    assert placement.error("DELETE", "/resource_classes/CUSTOM_GOLD")[0] == 409
    renamed = placement.ok("PUT", "/resource_classes/CUSTOM_GOLD", {"name": "CUSTOM_SILVER"}, version="1.6")
    assert renamed["name"] == "CUSTOM_SILVER"
    assert list(placement.ok("GET", f"/resource_providers/{uuid}/inventories")["inventories"]) == ["CUSTOM_SILVER"]
    placement.ok("DELETE", f"/resource_providers/{uuid}")
    placement.ok("DELETE", "/resource_classes/CUSTOM_SILVER")
    assert placement.error("DELETE", "/resource_classes/CUSTOM_SILVER")[0] == 404
    assert placement.error("DELETE", "/resource_classes/VCPU")[0] == 400


def test_aggregates_before_and_after_they_had_generations(placement: Placement) -> None:
    uuid, aggregate = placement.provider(), new_id()
    path = f"/resource_providers/{uuid}/aggregates"
    assert placement.ok("PUT", path, [aggregate], version="1.18") == {"aggregates": [aggregate]}
    assert placement.ok("GET", path) == {"aggregates": [aggregate], "resource_provider_generation": 0}
    assert placement.ok("PUT", path, {"aggregates": [], "resource_provider_generation": 0}) == {
        "aggregates": [], "resource_provider_generation": 1,
    }
    twice = {"aggregates": [aggregate, aggregate], "resource_provider_generation": 1}
    assert placement.error("PUT", path, twice)[0] == 400
