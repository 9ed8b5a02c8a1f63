"""The API's words become packets: server, agents and real drivers together, on this kernel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 110
WORLD = Path(__file__).with_name("wire_world.py")
TOOLS = ("unshare", "ip", "dnsmasq", "busybox", "nft", "iptables-restore", "ping")
SETUP = 'mount -t tmpfs tmpfs /run && mkdir -p /run/netns && mount -t sysfs sysfs /sys && exec "$@"'

pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces"),
    pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}"),
]


def test_a_guest_gets_an_address_the_internet_a_floating_ip_and_leaves_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", SETUP, "sh", sys.executable, str(WORLD), str(tmp_path / "cloud")],
        capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "port active": True, "lease": True, "internet": True, "closed before the rule": True,
        "open after the rule": True, "floating ip active": True, "ports left": [], "devices left": [],
    }  # fmt: skip
