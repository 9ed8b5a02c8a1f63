"""Runs the programs that make the image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 300


def run(*arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None) -> bytes:
    """Runs one program and returns its standard output; leaves the build with its messages if it fails."""
    command = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(command, input=stdin, cwd=cwd, capture_output=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        sys.exit(f"guest image: {command[0]} is missing; install the packages listed in guest/packages.txt")
    except subprocess.TimeoutExpired:
        sys.exit(f"guest image: {command[0]} did not end within {TIMEOUT_S} s")
    if done.returncode != 0:
        text = (done.stderr or done.stdout).decode(errors="replace").strip()
        sys.exit(f"guest image: {' '.join(command)} failed with status {done.returncode}:\n{text}")
    return done.stdout
