"""Key pairs: of users, not of projects."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from cloud import Cloud

SERVICES = ("identity", "compute")


def call(cloud: Cloud, method: str, path: str, token: str, version: str = "2.1", **more):
    headers = {"X-OpenStack-Nova-API-Version": version}
    return cloud.request(method, "/compute/v2.1/os-keypairs" + path, token=token, headers=headers, **more)


def ssh_key() -> str:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode() + " me@here"


@pytest.fixture(scope="module")
def ann(cloud: Cloud) -> str:
    return cloud.new_project("ann")[1]


@pytest.fixture(scope="module")
def bob(cloud: Cloud) -> str:
    return cloud.new_project("bob")[1]


def test_import_show_list_delete(cloud: Cloud, ann: str, bob: str) -> None:
    public = ssh_key()
    made = call(cloud, "POST", "", ann, "2.2", json={"keypair": {"name": "laptop", "public_key": public}})
    assert made.status_code == 201
    pair = made.json()["keypair"]
    assert set(pair) == {"name", "public_key", "fingerprint", "user_id", "type"}
    assert pair["public_key"] == public
    assert pair["type"] == "ssh"
    assert pair["fingerprint"].count(":") == 15
    shown = call(cloud, "GET", "/laptop", ann, "2.2").json()["keypair"]
    assert shown["created_at"]
    assert shown["deleted"] is False
    assert shown["id"]
    assert call(cloud, "GET", "/laptop", bob).status_code == 404
    assert call(cloud, "GET", "", bob).json() == {"keypairs": []}
    again = call(cloud, "POST", "", ann, json={"keypair": {"name": "laptop", "public_key": public}})
    assert again.json() == {"conflictingRequest": {"code": 409, "message": "Key pair 'laptop' already exists."}}
    assert call(cloud, "DELETE", "/laptop", bob).status_code == 404
    assert call(cloud, "DELETE", "/laptop", ann, "2.2").status_code == 204
    assert call(cloud, "DELETE", "/laptop", ann).status_code == 404


def test_generated_below_2_92_only(cloud: Cloud, ann: str) -> None:
    made = call(cloud, "POST", "", ann, json={"keypair": {"name": "made"}})
    assert made.status_code == 200
    private = made.json()["keypair"]["private_key"]
    public = serialization.load_pem_private_key(private.encode(), None).public_key()
    text = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    assert made.json()["keypair"]["public_key"].startswith(text)
    assert call(cloud, "POST", "", ann, "2.92", json={"keypair": {"name": "later"}}).status_code == 400
    assert call(cloud, "DELETE", "/made", ann).status_code == 202


@pytest.mark.parametrize("key", ["", "nonsense", "ssh-rsa notbase64!!", "ssh-rsa AAAA\nssh-rsa AAAA", "x" * 20_000])
def test_a_bad_key_is_refused(cloud: Cloud, ann: str, key: str) -> None:
    answer = call(cloud, "POST", "", ann, json={"keypair": {"name": "bad", "public_key": key}})
    assert answer.status_code == 400
    assert "Keypair data is invalid" in answer.json()["badRequest"]["message"]


def test_names_are_checked_by_version(cloud: Cloud, ann: str) -> None:
    body = {"keypair": {"name": "me@home", "public_key": ssh_key()}}
    assert call(cloud, "POST", "", ann, json=body).status_code == 400
    assert call(cloud, "POST", "", ann, "2.92", json=body).status_code == 201
    assert call(cloud, "DELETE", "/me@home", ann, "2.92").status_code == 204


def test_pages(cloud: Cloud, ann: str) -> None:
    names = [f"page-{n}" for n in range(3)]
    for name in names:
        call(cloud, "POST", "", ann, json={"keypair": {"name": name, "public_key": ssh_key()}})
    first = call(cloud, "GET", "?limit=2", ann, "2.35").json()
    assert [item["keypair"]["name"] for item in first["keypairs"]] == names[:2]
    assert "marker=page-1" in first["keypairs_links"][0]["href"]
    rest = call(cloud, "GET", "?limit=2&marker=page-1", ann, "2.35").json()
    assert [item["keypair"]["name"] for item in rest["keypairs"]] == names[2:]
    for name in names:
        call(cloud, "DELETE", f"/{name}", ann)


def test_administrators_manage_those_of_others_from_2_10_on(cloud: Cloud, ann: str, bob: str) -> None:
    made = call(cloud, "POST", "", ann, "2.10", json={"keypair": {"name": "mine", "public_key": ssh_key()}}).json()
    user_id = made["keypair"]["user_id"]
    admin = cloud.admin_token()
    assert call(cloud, "GET", f"/mine?user_id={user_id}", admin, "2.10").status_code == 200
    assert call(cloud, "GET", f"/mine?user_id={user_id}", admin, "2.9").status_code == 404
    assert call(cloud, "GET", f"/mine?user_id={user_id}", bob, "2.10").status_code == 403
    assert call(cloud, "DELETE", f"/mine?user_id={user_id}", admin, "2.10").status_code == 204


def test_the_quota_counts_per_user(cloud: Cloud, bob: str) -> None:
    admin = cloud.admin_token()
    path = "/compute/v2.1/os-quota-class-sets/default"
    set_to = {"quota_class_set": {"key_pairs": 1}}
    assert cloud.request("PUT", path, token=admin, json=set_to).status_code == 200
    try:
        assert call(cloud, "POST", "", bob, json={"keypair": {"name": "a", "public_key": ssh_key()}}).status_code == 200
        over = call(cloud, "POST", "", bob, json={"keypair": {"name": "b", "public_key": ssh_key()}})
        assert over.json() == {"forbidden": {"code": 403, "message": "Quota exceeded, too many key pairs."}}
    finally:
        cloud.request("PUT", path, token=admin, json={"quota_class_set": {"key_pairs": 100}})
        call(cloud, "DELETE", "/a", bob)
