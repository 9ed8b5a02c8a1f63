"""Regions, services, endpoints."""

from __future__ import annotations

from cloud import Cloud
from tests.api.identity.people import Admin, fresh

SERVICES = ("identity",)


def test_region_life(admin: Admin) -> None:
    name = fresh("region")
    region = admin.call("POST", "/regions", 201, {"region": {"id": name, "description": "d"}})["region"]
    assert (region["id"], region["parent_region_id"]) == (name, None)
    admin.call("POST", "/regions", 409, {"region": {"id": name}})
    child = admin.call("PUT", f"/regions/{fresh('child')}", 201, {"region": {"parent_region_id": name}})["region"]
    admin.call("PATCH", f"/regions/{name}", 400, {"region": {"parent_region_id": child["id"]}})
    admin.call("PATCH", f"/regions/{name}", 404, {"region": {"parent_region_id": "nowhere"}})
    changed = admin.call("PATCH", f"/regions/{name}", 200, {"region": {"description": "e"}})["region"]
    assert changed["description"] == "e"
    (found,) = admin.call("GET", f"/regions?parent_region_id={name}", 200)["regions"]
    assert found["id"] == child["id"]
    admin.call("DELETE", f"/regions/{name}", 403)
    admin.call("DELETE", f"/regions/{child['id']}", 204)
    admin.call("DELETE", f"/regions/{name}", 204)
    admin.call("GET", f"/regions/{name}", 404)
    assert admin.call("POST", "/regions", 201, {"region": {}})["region"]["id"]


def test_service_and_endpoint_life(cloud: Cloud, admin: Admin) -> None:
    kind = fresh("type")
    service = admin.call("POST", "/services", 201, {"service": {"type": kind, "name": "n", "x": 1}})["service"]
    assert (service["enabled"], service["x"]) == (True, 1)
    admin.call("POST", "/services", 400, {"service": {"name": "n"}})
    (found,) = admin.call("GET", f"/services?type={kind}", 200)["services"]
    assert found == service
    fields = {"service_id": service["id"], "interface": "public", "url": "http://h:1/", "region": "RegionOne"}
    endpoint = admin.call("POST", "/endpoints", 201, {"endpoint": fields})["endpoint"]
    assert endpoint["region_id"] == endpoint["region"] == "RegionOne"
    path = f"/endpoints/{endpoint['id']}"
    assert admin.call("PATCH", path, 200, {"endpoint": {"url": "http://h:2/"}})["endpoint"]["url"] == "http://h:2/"
    (listed,) = admin.call("GET", f"/endpoints?service_id={service['id']}&interface=public", 200)["endpoints"]
    assert listed["id"] == endpoint["id"]
    for wrong in ({"interface": "odd"}, {"url": "no url"}, {"url": "http://h/$(password)s"}, {"service_id": "x"},
                  {"region": "nowhere"}):
        admin.call("POST", "/endpoints", 400, {"endpoint": fields | wrong})
    admin.call("DELETE", "/regions/RegionOne", 403)
    admin.call("DELETE", f"/services/{service['id']}", 204)
    admin.call("GET", path, 404)
    admin.call("DELETE", path, 404)
