"""The unmodified `openstack` command against the image service: the bytes that come back are those that went in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud import Cloud

from .conftest import Tenant
from .image_api import show, stored_files

SERVICES = ("identity", "image")
OPENSTACK = Path(sys.executable).parent / "openstack"
COMMAND_TIMEOUT_S = 90
MIB = 2**20


@pytest.fixture(scope="module")
def ann(cloud: Cloud) -> Tenant:
    return Tenant(*cloud.new_project("ann"))


@pytest.fixture(scope="module")
def bob(cloud: Cloud) -> Tenant:
    return Tenant(*cloud.new_project("bob"))


def run(cloud: Cloud, user: str, *args: str, code: int = 0) -> str:
    """One command as a user in the project of the same name; its output, or its error when it must fail."""
    env = {
        "PATH": os.environ["PATH"], "HOME": str(cloud.state_dir), "OS_AUTH_URL": f"{cloud.url}/identity/v3",
        "OS_USERNAME": user, "OS_PASSWORD": "s3cret-" + user, "OS_PROJECT_NAME": user, "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default", "OS_IDENTITY_API_VERSION": "3",
    }
    done = subprocess.run(
        [OPENSTACK, *args], env=env, cwd=cloud.state_dir, timeout=COMMAND_TIMEOUT_S, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def answer(cloud: Cloud, user: str, *args: str) -> Any:
    return json.loads(run(cloud, user, *args, "-f", "json"))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A qcow2 image with something in it."""
    folder = tmp_path_factory.mktemp("disk")
    (folder / "raw").write_bytes(os.urandom(3 * MIB) + bytes(5 * MIB))
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "raw", "disk.qcow2"]
    subprocess.run(argv, cwd=folder, check=True, timeout=60)
    return folder / "disk.qcow2"


def test_the_life_of_an_image(cloud: Cloud, ann: Tenant, bob: Tenant, disk: Path, tmp_path: Path) -> None:
    before = stored_files(cloud)
    made = answer(
        cloud, "ann", "image", "create", "--disk-format", "qcow2", "--file", str(disk), "--min-disk", "1",
        "--tag", "t1", "--property", "os_distro=debian", "--shared", "first",
    )
    image_id = made["id"]
    shown = answer(cloud, "ann", "image", "show", "first")
    data = disk.read_bytes()
    assert (shown["status"], shown["size"], shown["checksum"]) == ("active", len(data), hashlib.md5(data).hexdigest())
    assert shown["virtual_size"] == 8 * MIB
    assert shown["properties"]["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert (shown["properties"]["os_distro"], shown["min_disk"], shown["tags"]) == ("debian", 1, ["t1"])

    saved = tmp_path / "saved"
    run(cloud, "ann", "image", "save", "--file", str(saved), "first")
    assert saved.read_bytes() == data

    run(cloud, "ann", "image", "set", "--name", "second", "--property", "k=v", "--tag", "t2", "--min-ram", "64",
        "--protected", image_id)
    run(cloud, "ann", "image", "unset", "--property", "os_distro", "--tag", "t1", image_id)
    after = show(cloud, ann.token, image_id)
    assert (after["name"], after["k"], after["tags"], after["min_ram"], after["protected"]) == (
        "second", "v", ["t2"], 64, True
    )
    assert "os_distro" not in after
    listed = answer(cloud, "ann", "image", "list", "--property", "k=v", "--sort", "name:asc", "--limit", "1")
    assert [(row["Name"], row["Status"]) for row in listed] == [("second", "active")]

    run(cloud, "ann", "image", "add", "project", image_id, bob.project_id)
    run(cloud, "bob", "image", "set", "--accept", image_id)
    assert [row["Name"] for row in answer(cloud, "bob", "image", "list", "--shared")] == ["second"]
    members = answer(cloud, "ann", "image", "member", "list", image_id)
    assert [(row["Member ID"], row["Status"]) for row in members] == [(bob.project_id, "accepted")]
    run(cloud, "ann", "image", "remove", "project", image_id, bob.project_id)
    assert "No Image found for" in run(cloud, "bob", "image", "show", image_id, code=1)

    assert "protected" in run(cloud, "ann", "image", "delete", image_id, code=1)
    run(cloud, "ann", "image", "set", "--unprotected", image_id)
    run(cloud, "ann", "image", "delete", image_id)
    assert answer(cloud, "ann", "image", "list") == []
    assert stored_files(cloud) == before


def test_refusals_are_told_in_words(cloud: Cloud, ann: Tenant, bob: Tenant, disk: Path) -> None:
    before = stored_files(cloud)
    error = run(cloud, "ann", "image", "create", "--public", "wanted", code=1)
    assert "publicize_image" in error
    error = run(cloud, "ann", "image", "create", "--disk-format", "raw", "--file", str(disk), "lie", code=1)
    assert "declared as raw but its content is qcow2" in error
    assert stored_files(cloud) == before


def test_stores_and_hidden_and_deactivated(cloud: Cloud, ann: Tenant, bob: Tenant) -> None:
    image_id = answer(cloud, "ann", "image", "create", "--disk-format", "raw", "plain")["id"]
    run(cloud, "ann", "image", "set", "--hidden", image_id)
    assert "plain" not in [row["Name"] for row in answer(cloud, "ann", "image", "list")]
    assert [row["Name"] for row in answer(cloud, "ann", "image", "list", "--hidden")] == ["plain"]
    assert answer(cloud, "ann", "image", "stores", "list")[0]["ID"] == "file"
    assert answer(cloud, "ann", "image", "import", "info") is not None
    run(cloud, "ann", "image", "delete", image_id)
