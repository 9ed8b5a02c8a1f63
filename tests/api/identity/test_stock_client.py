"""The unmodified `openstack` command against identity."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud import Cloud

SERVICES = ("identity",)
TIMEOUT_S = 60
CLIENT = Path(sys.executable).parent / "openstack"

pytestmark = pytest.mark.skipif(not CLIENT.exists(), reason="python-openstackclient is not installed")


def openstack(cloud: Cloud, *words: str, expect: int = 0) -> Any:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    login = {
        "OS_AUTH_URL": cloud.url + "/identity/v3", "OS_USERNAME": "admin", "OS_PASSWORD": cloud.admin_password,
        "OS_PROJECT_NAME": "admin", "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_IDENTITY_API_VERSION": "3",
    }
    done = subprocess.run([str(CLIENT), *words], env=plain | login, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout) if "json" in words else done.stderr if expect else done.stdout


def test_journey(cloud: Cloud) -> None:
    as_json = ("-f", "json")
    token = openstack(cloud, "token", "issue", *as_json)
    assert token["project_id"]
    assert token["id"].startswith("gAAAAA")
    domain = openstack(cloud, "domain", "create", "acme", *as_json)
    openstack(cloud, "project", "create", "--domain", "acme", "--tag", "blue", "web")
    openstack(cloud, "user", "create", "--domain", "acme", "--password", "s3cret", "--email", "a@example.org", "ann")
    openstack(cloud, "role", "create", "tester")
    openstack(cloud, "role", "add", "--project", "web", "--user", "ann", "tester")
    names = {row["Name"] for row in openstack(cloud, "project", "list", "--domain", "acme", *as_json)}
    assert names == {"web"}
    assert {row["Name"] for row in openstack(cloud, "user", "list", "--project", "web", *as_json)} == {"ann"}
    assert "tester" in {row["Name"] for row in openstack(cloud, "role", "list", *as_json)}
    assigned = openstack(cloud, "role", "assignment", "list", "--names", "--project", "web", *as_json)
    assert [(row["User"], row["Project"], row["Role"]) for row in assigned] == [("ann@acme", "web@acme", "tester")]
    catalog = openstack(cloud, "catalog", "list", *as_json)
    assert {row["Type"] for row in catalog} == {"identity"}
    endpoints = openstack(cloud, "endpoint", "list", *as_json)
    assert {row["Interface"] for row in endpoints} == {"public", "internal", "admin"}
    assert "disable" in openstack(cloud, "domain", "delete", "acme", expect=1)
    openstack(cloud, "domain", "set", "--disable", "acme")
    openstack(cloud, "domain", "delete", "acme")
    assert domain["id"] not in {row["ID"] for row in openstack(cloud, "domain", "list", *as_json)}
    assert "web" in openstack(cloud, "project", "show", "web", expect=1)
