"""`pileus verify` as a user runs it: exit codes, and nothing skipped in silence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from actors import Shop

from cloud import Cloud
from verified import config_of, pileus, verdict


def test_a_cloud_that_is_not_there_cannot_be_compared(tmp_path: Path) -> None:
    config = tmp_path / "pileus.toml"
    config.write_text('[compute.agent]\nhypervisor = "fake"\n[network]\nl2_driver = "fake"\nl3_driver = "fake"\n')
    done = pileus("verify", tmp_path / "none", config=config)
    assert done.returncode == 2
    assert f"  database of compute: there is no database {tmp_path}/none/db/compute.sqlite" in done.stdout
    assert not (tmp_path / "none").exists(), "looking must not make anything"


def test_a_configuration_that_cannot_be_used_is_no_finding(tmp_path: Path) -> None:
    config = tmp_path / "pileus.toml"
    config.write_text("[compute]\ncolour = 1\n")
    done = pileus("verify", tmp_path / "none", config=config)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pileus: [compute] Object contains unknown field `colour`\n"


def test_it_works_while_the_cloud_is_down(tmp_path: Path) -> None:
    with Cloud(tmp_path / "state") as cloud:
        shop = Shop(cloud)
        server = shop.boot("sleeps")
        shop.user.until_status(server, "ACTIVE")
        config = config_of(cloud)
    found = verdict(tmp_path / "state", config=config)
    assert (found["findings"], found["problems"], found["counts"]["servers"]) == ([], [], 1)
    (tmp_path / "state" / "db" / "image.sqlite").unlink()
    done = pileus("verify", tmp_path / "state", config=config)
    assert done.returncode == 2
    assert "not compared:\n  database of image: there is no database" in done.stdout
    assert not (tmp_path / "state" / "db" / "image.sqlite").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to stop being it")
def test_without_root_it_says_what_it_cannot_see(cloud: Cloud, shop: Shop) -> None:
    code = (
        "import os, sys; from pileus.cli import main, verify, repair; import sqlite3; "
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534); "
        "sys.exit(main.main())"
    )
    argv = [sys.executable, "-c", code, "verify", "--state-dir", str(cloud.state_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "database of compute: " in done.stdout
    assert "this host: only root can look at devices, rules, guests and processes" in done.stdout


def test_what_is_in_motion_is_no_finding(cloud: Cloud, shop: Shop) -> None:
    """A finding in the first look that is gone in the second is not told."""
    log = Path(cloud.state_dir) / "log" / "moving.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(shop.admin.token)
    log.chmod(0o600)
    config = config_of(cloud)
    assert verdict(cloud.state_dir, config=config, settle_s=0)["findings"]
    argv = [sys.executable, "-m", "pileus.cli.main", "verify", "--config", str(config)]
    looking = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert looking.stderr is not None
    assert looking.stderr.readline() == "1 finding may be in motion; looking again in 3 s\n"
    log.unlink()
    out, _ = looking.communicate(timeout=120)
    assert (looking.returncode, out.startswith("verify: nothing found")) == (0, True)


def test_a_hundred_looks_do_not_hold_up_the_cloud(cloud: Cloud, shop: Shop) -> None:
    """Reading takes no lock that writers wait for."""
    config, stop = config_of(cloud), threading.Event()

    def look() -> None:
        while not stop.is_set():
            verdict(cloud.state_dir, config=config, settle_s=0)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(5):
            server = shop.boot("while-looked-at")
            shop.user.until_status(server, "ACTIVE")
            shop.user.delete(server)
    finally:
        stop.set()
        looker.join()
