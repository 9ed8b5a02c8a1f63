"""Join tokens, grants and the cloud's certificate authority: what they are, and what they refuse."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from pileus.services import discover
from pileus.services.join.logic import authority, grant, join_token, place
from pileus.services.join.logic.authority import Authority, UnfitRequest
from pileus.services.join.logic.grant import UnfitGrant
from pileus.services.join.logic.join_token import MalformedToken

NOW = datetime(2026, 5, 4, tzinfo=UTC)
SERVICES = discover()
DATABASES = {service.type: f"mysql+pymysql://u:p@db/{service.type}" for service in SERVICES}


def make(*texts: str, **tables: dict) -> grant.Grant:
    return grant.make(texts, SERVICES, {"identity": "http://c1:8901/identity"}, tables)


def sent(tables: dict[str, Any]) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(tables))


# -- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_is_one_word_that_says_where_and_whom_to_trust() -> None:
    made = join_token.new("[fd00::1]:8990", Authority("s", "c").fingerprint)
    word = join_token.write(made)
    assert join_token.read(f" {word}\n") == made
    assert not set(word) & set(" \t\n/+=")
    assert made.secret not in repr(made)


def test_every_cut_and_nearly_every_change_of_a_token_is_noticed() -> None:
    word = join_token.write(join_token.new("10.0.0.1:8990", "a" * 43))
    for length in range(len(word)):
        with pytest.raises(MalformedToken):
            join_token.read(word[:length])
    for odd in ("", "é", word + "AA", "x" + word, word * 9, word.replace("-", "_")):
        with pytest.raises(MalformedToken) as refused:
            join_token.read(odd)
        assert word not in str(refused.value)


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "a/b:1", "u@h:1", "h:x"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        place.parts(text)


# -- grants ----------------------------------------------------------------------------------------------------------


def test_a_host_of_agents_is_granted_what_its_roles_need_and_no_more() -> None:
    granted = make("agents=compute-agent,network-l2", "more=network-dhcp")
    assert granted.secrets == ("service-password-compute",)
    assert not granted.is_controller
    tables = {
        "bus": {"url": "amqp://u:p@mq"}, "database": DATABASES, "cache": {"servers": ["m"]}, "image": {"store": "file"},
        "network": {"tunnel_ip": "10.0.0.1", "l2_driver": "fake"}, "node": {"public_url": "https://c"},
        "compute": {"agent": {"host_ip": "10.0.0.1"}},
    }
    given = sent(grant.configuration(granted, tables, cloud="c", region="R"))
    assert given == {
        "node": {"cloud": "c", "region": "R"}, "bus": {"url": "amqp://u:p@mq"},
        "network": {"l2_driver": "fake", "external_bridges": {}},
        "endpoints": {"identity": "http://c1:8901/identity"},
        "processes": {
            "agents": {"roles": ["compute-agent", "network-l2"]}, "more": {"roles": ["network-dhcp"]},
        },
    }  # fmt: skip
    assert make("l2=network-l2").secrets == ()


def test_a_controller_is_granted_databases_and_ports() -> None:
    granted = make("api=identity-api,identity-upkeep:8901", database=DATABASES)
    assert granted.is_controller
    assert granted.processes["api"].port == 8901
    given = sent(grant.configuration(granted, {"database": DATABASES}, cloud="c", region="R"))
    assert given["database"] == DATABASES
    assert given["processes"] == {"api": {"roles": ["identity-api", "identity-upkeep"], "port": 8901}}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["agents"], "is not NAME=ROLE"),
        (["agents="], "is not NAME=ROLE"),
        (["../x=compute-agent"], "is not NAME=ROLE"),
        (["a=compute-agnet"], "there is no role 'compute-agnet'; there are compute-agent"),
        (["a=compute-agent", "a=network-l2"], "two processes 'a'"),
        (["a=identity-api"], "a port is needed with an API"),
        (["a=compute-agent:80"], "a port is needed with an API among its roles, and only then"),
        (["a=identity-api:70000"], "70000 is no port"),
        (["a=compute-api:8905"], r"\[database\] has no URL for compute"),
    ],
)
def test_what_no_host_can_be(texts: list[str], says: str) -> None:
    with pytest.raises(UnfitGrant, match=says):
        make(*texts)


# -- the authority ---------------------------------------------------------------------------------------------------


def test_every_controller_is_the_same_authority() -> None:
    one, other = Authority("secret", "c"), Authority("secret", "c")
    assert one.certificate == other.certificate
    assert one.fingerprint == "-smp39gB2dCDCJJCnSMo9Cq39RmGqdPoxZTrDZKOlhg"  # or today's hosts are strangers
    assert one.fingerprint != Authority("another", "c").fingerprint


def test_a_host_is_named_by_the_authority_and_not_by_its_request() -> None:
    own = Authority("secret", "c")
    request, digest = authority.read_request(authority.request_for(authority.new_key(), "I am the controller"))
    assert len(digest) == 64
    made = x509.load_pem_x509_certificate(own.admit(request, "h1", NOW))
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(own.certificate))
    assert made.subject.rfc4514_string() == "CN=h1"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.not_valid_before_utc < NOW < made.not_valid_after_utc


def test_a_request_that_its_key_did_not_sign_is_refused() -> None:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    other_kind = builder.sign(Ed25519PrivateKey.generate(), None).public_bytes(Encoding.PEM).decode()
    good = x509.load_pem_x509_csr(authority.request_for(authority.new_key(), "h").encode()).public_bytes(Encoding.DER)
    changed = base64.encodebytes(good[:-1] + bytes([good[-1] ^ 1])).decode()
    forged = f"-----BEGIN CERTIFICATE REQUEST-----\n{changed}-----END CERTIFICATE REQUEST-----\n"
    for odd in ("", "x", other_kind, forged):
        with pytest.raises(UnfitRequest):
            authority.read_request(odd)
