"""A compute service is forgotten wholly or not at all."""

from __future__ import annotations

from actors import Shop


def test_a_service_that_cannot_be_deleted_wholly_is_not_deleted_at_all(shop: Shop) -> None:
    admin = shop.admin
    [provider] = admin.get("/os-hypervisors")["hypervisors"]
    path = "/placement/allocations/6f9b1a3e-0000-4000-8000-000000000001"
    body = {
        "allocations": {provider["id"]: {"resources": {"VCPU": 1}}}, "consumer_generation": None,
        "project_id": shop.user.project_id, "user_id": shop.user.project_id,
    }
    headers = {"OpenStack-API-Version": "placement 1.28"}
    assert shop.cloud.request("PUT", path, token=admin.token, json=body, headers=headers).status_code == 204
    [service] = admin.get("/os-services?binary=nova-compute")["services"]
    assert admin.ask("DELETE", f"/os-services/{service['id']}").status_code == 409
    assert admin.get("/os-services?binary=nova-compute")["services"][0]["id"] == service["id"]
    assert [h["id"] for h in admin.get("/os-hypervisors")["hypervisors"]] == [provider["id"]]
    assert shop.cloud.request("DELETE", path, token=admin.token).status_code == 204
    assert admin.ask("DELETE", f"/os-services/{service['id']}").status_code == 204
    answer = shop.cloud.request("GET", f"/placement/resource_providers/{provider['id']}", token=admin.token)
    assert answer.status_code == 404
