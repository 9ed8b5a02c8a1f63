"""After a crash at any moment: no upload stays `saving`, no file stays that belongs to nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

from cloud import Cloud
from pileus.services.image.db import uploads

from .conftest import Tenant
from .image_api import active_image, new_image, show, stored_files, until, upload
from .test_image_data import begin_upload

SERVICES = ("identity", "image")
MIB = 2**20
TABLES = {"image": {"upload_beat_s": 0.2, "upload_stale_s": 1.0, "reconcile_s": 0.2}}


def test_orphans_are_removed_and_images_stay(tmp_path: Path) -> None:
    with Cloud(tmp_path, services=SERVICES, tables=TABLES) as cloud:
        ann = Tenant(*cloud.new_project("ann"))
        kept = active_image(cloud, ann.token, b"kept")
        directory = cloud.state_dir / "image" / "images"
        mine = set(stored_files(cloud))
        (directory / str(uuid.uuid4())).write_bytes(b"whole, of a deleted image")
        (directory / f"{uuid.uuid4()}.part").write_bytes(b"half")
        foreign = directory / "README"
        foreign.write_text("put here by the operator")
        until(lambda: set(stored_files(cloud)) == mine | {foreign})
        path = f"/image/v2/images/{kept['id']}/file"
        assert cloud.request("GET", path, token=ann.token).content == b"kept"


def test_a_slow_upload_is_left_alone(tmp_path: Path) -> None:
    with Cloud(tmp_path, services=SERVICES, tables=TABLES) as cloud:
        ann = Tenant(*cloud.new_project("ann"))
        image = new_image(cloud, ann.token)
        sock = begin_upload(cloud, ann.token, image["id"], 2 * MIB, bytes(MIB))
        until(lambda: show(cloud, ann.token, image["id"])["status"] == "saving")
        # Longer than an upload may be silent; the reconciler has run several times.
        started = os.times().elapsed
        until(lambda: os.times().elapsed - started > 2.0)
        assert show(cloud, ann.token, image["id"])["status"] == "saving"
        sock.sendall(bytes(MIB))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 204")
        sock.close()
        assert show(cloud, ann.token, image["id"])["status"] == "active"


def test_a_crash_between_the_last_byte_and_the_last_transaction(tmp_path: Path) -> None:
    """The file is whole and in place, the image still says `saving`, and whoever did that is gone."""
    with Cloud(tmp_path, services=SERVICES, tables=TABLES) as cloud:
        ann = Tenant(*cloud.new_project("ann"))
        image, key = new_image(cloud, ann.token), str(uuid.uuid4())
        assert cloud.node is not None
        database = cloud.node.runtimes["image"].db
        dead = "another-host:1:x"
        begun = database.write(uploads.begin, image["id"], store="file", store_key=key, owner=dead)
        assert cloud.run(begun)
        (cloud.state_dir / "image" / "images" / key).write_bytes(b"whole")
        assert show(cloud, ann.token, image["id"])["status"] == "saving"
        until(lambda: show(cloud, ann.token, image["id"])["status"] == "queued")
        until(lambda: stored_files(cloud) == [])
        # What the dead one might still do is without effect.
        data = uploads.Data(5, 5, "md5", "sha512", "hash")
        assert not cloud.run(database.write(uploads.finish, image["id"], key, data))
        assert upload(cloud, ann.token, image["id"], b"again").status_code == 204


CRASHING_CLOUD = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from cloud import Cloud

    with Cloud(Path({state!r}), services={services!r}, tables={tables!r}) as cloud:
        _, token = cloud.new_project("ann")
        print(cloud.port, token, flush=True)
        time.sleep(600)
"""


def test_a_killed_process_leaves_nothing_behind(tmp_path: Path) -> None:
    source = textwrap.dedent(CRASHING_CLOUD).format(
        tests=str(Path(__file__).parents[2]), state=str(tmp_path), services=SERVICES, tables=TABLES
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port, token = process.stdout.readline().split()
        remote = Cloud(tmp_path, services=SERVICES, tables=TABLES)
        remote.port, remote.url = int(port), f"http://127.0.0.1:{port}"
        kept = active_image(remote, token, b"kept")
        image = new_image(remote, token)
        sock = begin_upload(remote, token, image["id"], 100 * MIB, os.urandom(3 * MIB))
        until(lambda: any(file.suffix == ".part" and file.stat().st_size for file in stored_files(remote)))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
    sock.close()
    assert len(stored_files(remote)) == 2
    with Cloud(tmp_path, services=SERVICES, tables=TABLES) as cloud:
        token = cloud.token("ann", "s3cret-ann", "ann")
        until(lambda: show(cloud, token, image["id"])["status"] == "queued")
        until(lambda: len(stored_files(cloud)) == 1)
        assert upload(cloud, token, image["id"], b"again").status_code == 204
        assert cloud.request("GET", f"/image/v2/images/{kept['id']}/file", token=token).content == b"kept"
