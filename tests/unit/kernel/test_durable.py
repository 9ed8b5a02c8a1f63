"""Files that are old or new, never half, also on a disk that fills up."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

from pileus.kernel.host import durable

LIMITED = """
import resource, signal, sys
from pathlib import Path
from pileus.kernel.host import durable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    durable.write(Path(sys.argv[1]), b"n" * 150)
except OSError as error:
    print(type(error).__name__)
"""


def test_a_file_is_made_and_replaced_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old", b"new and longer", b""):
        durable.write(path, content)
        assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_takes_a_part_only_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write(path, b"old")
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "OSError\n"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_publish_gives_a_finished_file_its_name(tmp_path: Path) -> None:
    new, path = tmp_path / "disk.new", tmp_path / "disk"
    new.write_bytes(b"content")
    durable.publish(new, path)
    assert (path.read_bytes(), new.exists()) == (b"content", False)
