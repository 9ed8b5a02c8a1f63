"""No value of any attribute, filter or path is a server error."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.services.network.api.attributes import Resource
from pileus.services.network.api.floating_ips import FLOATING_IP
from pileus.services.network.api.networks import NETWORK
from pileus.services.network.api.ports import PORT
from pileus.services.network.api.routers import ROUTER
from pileus.services.network.api.security_groups import GROUP, RULE
from pileus.services.network.api.subnet_pools import SUBNET_POOL
from pileus.services.network.api.subnets import SUBNET

from .client import Caller

SERVICES = ("identity", "network")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 4, 1 << 40, 1 << 70, 1.5, "", "x", "\u0000", "\U0001f40d", "a\nb", "x" * 5000, "10.0.0.1",
    "10.0.0.0/8", "::ffff:10.0.0.1", "fe80::1%eth0", "0", [], {}, [None], [[]], [{}], ["x"], {"x": None},
    [{"ip_address": None}], [{"subnet_id": None}], [{"start": 1, "end": 2}], {"network_id": None}, [{"x": [{}]}],
    [{"destination": None, "nexthop": None}], [{"opt_name": None, "opt_value": None}],
    "00000000-0000-4000-8000-000000000000", "{00000000-0000-4000-8000-000000000000}",
)  # fmt: skip
KINDS: tuple[tuple[Resource, str], ...] = (
    (NETWORK, "networks"), (SUBNET, "subnets"), (PORT, "ports"), (ROUTER, "routers"), (FLOATING_IP, "floatingips"),
    (SUBNET_POOL, "subnetpools"), (GROUP, "security-groups"), (RULE, "security-group-rules"),
)  # fmt: skip


@pytest.fixture(scope="module")
def made(admin: Caller) -> dict[str, tuple[str, dict[str, Any]]]:
    """One of each kind, and the least body that makes another."""
    project = admin.ok("GET", "quotas/project")["tenant"]["project_id"]
    names = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule")
    admin.ok("PUT", f"quotas/{project}", {"quota": dict.fromkeys(names, -1)})
    network = admin.make("networks", router__external=True)
    subnet = {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/16"}
    group = admin.make("security-groups", name="g")
    least: dict[str, dict[str, Any]] = {
        "networks": {}, "subnets": subnet, "ports": {"network_id": network["id"]}, "routers": {},
        "floatingips": {"floating_network_id": network["id"]}, "security-groups": {"name": "h"},
        "subnetpools": {"name": "p", "prefixes": ["10.0.0.0/8"]},
        "security-group-rules": {"security_group_id": group["id"], "direction": "ingress"},
    }  # fmt: skip
    return {kind: (admin.make(kind, **body)["id"], body) for kind, body in least.items()}


@pytest.mark.parametrize(("resource", "kind"), KINDS, ids=[kind for _, kind in KINDS])
def test_no_attribute_value_is_a_server_error(
    admin: Caller, made: dict[str, tuple[str, dict[str, Any]]], resource: Resource, kind: str
) -> None:
    key, least = made[kind]
    for name in resource.attributes:
        for value in VALUES:
            created = admin.send("POST", kind, {resource.singular: least | {name: value}})
            assert created.status_code < 500, (kind, name, value, created.text)
            assert created.status_code == 201 or "NeutronError" in created.json(), (kind, name, value)
            if kind != "security-group-rules":
                changed = admin.send("PUT", f"{kind}/{key}", {resource.singular: {name: value}})
                assert changed.status_code < 500, (kind, name, value, changed.text)


@pytest.mark.parametrize(("resource", "kind"), KINDS, ids=[kind for _, kind in KINDS])
def test_no_filter_or_id_is_a_server_error(admin: Caller, resource: Resource, kind: str) -> None:
    for name in (*resource.attributes, "marker", "limit", "sort_key", "sort_dir", "fields", "tags", "page_reverse"):
        for value in ("", "x", "-1", "99999999999999999999999", "True", "a=b=c", "ip_address=", "\u0000", "%", "é"):
            listed = admin.send("GET", kind, params={name: value})
            assert listed.status_code in (200, 400, 404), (kind, name, value, listed.text)
    for key in ("x", "%00", "é", "a" * 2000, "..", "%2e%2e%2f"):
        for method in ("GET", "PUT", "DELETE"):
            answer = admin.send(method, f"{kind}/{key}", {resource.singular: {"description": "x"}})
            assert answer.status_code < 500, (kind, method, key, answer.text)


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe", b"[" * 20_000, b'{"a":' * 5_000])
def test_no_body_is_a_server_error(admin: Caller, made: dict[str, tuple[str, dict[str, Any]]], raw: bytes) -> None:
    for _, kind in KINDS:
        assert admin.send("POST", kind, data=raw).status_code == 400
        if kind != "security-group-rules":
            assert admin.send("PUT", f"{kind}/{made[kind][0]}", data=raw).status_code == 400
    for path in ("add_router_interface", "remove_router_interface", "add_extraroutes"):
        assert admin.send("PUT", f"routers/{made['routers'][0]}/{path}", data=raw).status_code == 400
    assert admin.send("PUT", "quotas/x", data=raw).status_code == 400
    assert admin.send("PUT", f"networks/{made['networks'][0]}/tags", data=raw).status_code == 400
