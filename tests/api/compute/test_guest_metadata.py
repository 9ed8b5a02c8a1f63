"""What guests read about themselves, asked as the network's agents ask for them."""

from __future__ import annotations

import base64
import json

import pytest
from actors import Shop
from test_keypairs import ssh_key

from pileus.services.network.rpc import METADATA_TOPIC, MetadataRequest, MetadataResponse

USER_DATA = b"#!/bin/sh\necho hello\n"


class Guest:
    """A guest, known by its network and address alone."""

    def __init__(self, shop: Shop, network_id: str, address: str) -> None:
        self.shop, self.network_id, self.address = shop, network_id, address

    def ask(self, path: str, *, method: str = "GET", **headers: str) -> MetadataResponse:
        cloud = self.shop.cloud
        request = MetadataRequest(
            network_id=self.network_id, source_ip=self.address, method=method, path=path, headers=headers
        )
        return cloud.run(cloud.node.bus.call(METADATA_TOPIC, request))

    def text(self, path: str) -> str:
        answer = self.ask(path)
        assert answer.status == 200, (path, answer)
        return answer.body.decode()


@pytest.fixture(scope="module")
def key() -> str:
    return ssh_key()


@pytest.fixture(scope="module")
def server(shop: Shop, key: str) -> dict:
    shop.user.ask("POST", "/os-keypairs", {"keypair": {"name": "meta", "public_key": key}})
    server = shop.boot(
        "Meta Guest", key_name="meta", user_data=base64.b64encode(USER_DATA).decode(), metadata={"role": "web"},
        networks=[{"uuid": shop.network, "tag": "front"}],
    )
    return shop.admin.until_status(server, "ACTIVE")


@pytest.fixture(scope="module")
def guest(shop: Shop, server: dict) -> Guest:
    return Guest(shop, shop.network, server["addresses"]["shop-net"][0]["addr"])


def test_the_tree_of_old(guest: Guest, server: dict, key: str) -> None:
    assert guest.text("/").splitlines()[-1] == "latest"
    assert guest.text("/latest").splitlines() == ["meta-data/", "user-data"]
    names = guest.text("/latest/meta-data/").splitlines()
    assert {"instance-id", "hostname", "local-ipv4", "public-keys/", "placement/"} <= set(names)
    assert guest.text("/latest/meta-data/hostname") == "meta-guest"
    assert guest.text("/latest/meta-data/local-ipv4") == guest.address
    assert guest.text("/2009-04-04/meta-data/instance-id").startswith("i-")
    assert guest.text("/latest/meta-data/public-keys/") == "0=meta"
    assert guest.text("/latest/meta-data/public-keys/0/") == "openssh-key"
    assert guest.text("/latest/meta-data/public-keys/0/openssh-key") == key
    assert guest.text("/latest/meta-data/placement/availability-zone") == "nova"
    assert guest.ask("/latest/user-data").body == USER_DATA


def test_the_openstack_documents(guest: Guest, server: dict, key: str) -> None:
    assert "latest" in guest.text("/openstack").splitlines()
    assert "meta_data.json" in guest.text("/openstack/latest/").splitlines()
    data = json.loads(guest.text("/openstack/latest/meta_data.json"))
    assert data["uuid"] == server["id"]
    assert data["hostname"] == "meta-guest"
    assert data["name"] == "Meta Guest"
    assert data["public_keys"] == {"meta": key}
    assert data["meta"] == {"role": "web"}
    assert data["devices"][0]["tags"] == ["front"]
    assert len(base64.b64decode(data["random_seed"])) == 512
    assert guest.ask("/openstack/2018-08-27/user_data").body == USER_DATA
    network = json.loads(guest.text("/openstack/latest/network_data.json"))
    assert [link["mtu"] for link in network["links"]]
    assert network["networks"][0]["type"] == "ipv4_dhcp"
    assert json.loads(guest.text("/openstack/latest/vendor_data.json")) == {}


def test_what_is_not_there(guest: Guest) -> None:
    for path in ("/latest/nothing", "/3000-01-01/", "/openstack/latest/secrets",
                 "/latest/meta-data/public-keys/0/_name",
                 "/openstack/latest/meta_data.json/x"):
        assert guest.ask(path).status == 404, path
    assert guest.ask("/latest/meta-data/", method="PUT").status == 405


def test_a_guest_gets_its_own_data_only(shop: Shop, guest: Guest, server: dict) -> None:
    elsewhere = Guest(shop, "00000000-0000-4000-8000-000000000000", guest.address)
    assert elsewhere.ask("/latest/meta-data/").status == 404
    nobody = Guest(shop, shop.network, "10.20.0.250")
    assert nobody.ask("/latest/meta-data/").status == 404
    forged = {"x-instance-id": server["id"], "x-tenant-id": shop.user.project_id}
    assert nobody.ask("/openstack/latest/meta_data.json", **forged).status == 404


def test_a_port_that_claims_a_server_of_another_project_reads_nothing(shop: Shop, server: dict) -> None:
    from actors import Actor, make_network

    project, token = shop.cloud.new_project("thief")
    thief = Actor(shop.cloud, token, project)
    network = make_network(thief, "thief-net", "10.66.0.0/24")
    body = {"port": {"network_id": network, "device_id": server["id"], "device_owner": "compute:nova"}}
    port = thief.network("POST", "/ports", body)
    if port.status_code != 201:
        return  # refused even earlier
    address = port.json()["port"]["fixed_ips"][0]["ip_address"]
    assert Guest(shop, network, address).ask("/openstack/latest/meta_data.json").status == 404
    shown = shop.user.server(server["id"])
    assert set(shown["addresses"]) == {"shop-net"}
