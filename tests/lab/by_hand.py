"""The page on installing by hand, done as it is written, on hosts of namespaces: files written, commands typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pileus.lab import addresses, building, hosts
from pileus.lab import layout as layouts
from pileus.lab.host_place import HostPlace
from pileus.lab.lab import INTERNET, SIDE_HOSTS, Lab
from tests.lab.rehearsal import ROOT, until

PAGE = ROOT / "docs" / "operate" / "by-hand.md"
TIMEOUT_S = 400.0
SYSTEMCTL = Path(__file__).with_name("systemctl.py")
_FILE = re.compile(r"File `(/\S+)` on ([a-z0-9, ]+):")
_WELL = "exit=0\n"
_COMMAND = re.compile(r"    ([a-z0-9,]+)# (.+)")


@dataclass(frozen=True)
class Step:
    """A file of some hosts, or (path empty) a command typed on each of them."""

    hosts: tuple[str, ...]
    text: str
    path: str = ""


def steps(section: str) -> Iterator[Step]:
    """What a section of the page tells to do, in order."""
    page = PAGE.read_text()
    lines = page[page.index(f"\n## {section}\n") + 1:].splitlines()[1:]
    path, where, content = "", (), []
    for line in [*lines, "## "]:
        if match := _COMMAND.fullmatch(line):
            if content:
                yield Step(where, _text(content), path)
                path, content = "", []
            yield Step(tuple(match[1].split(",")), match[2])
        elif path and (line.startswith("    ") or not line):
            content.append(line[4:])
        else:
            if content:
                yield Step(where, _text(content), path)
            path, content = "", []
            if match := _FILE.fullmatch(line):
                path, where = match[1], tuple(match[2].split(", "))
            if line.startswith("## "):
                return


def _text(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n") + "\n"


class ByHand:
    """The hosts of a layout, bare: cards with addresses and nothing that runs. A context manager."""

    def __init__(self, directory: Path, layout: str) -> None:
        self.lab = Lab(directory / "hosts", layouts.find(layout)[0])
        self._token = ""

    def __enter__(self) -> Self:
        self.lab.directory.mkdir(parents=True)
        for directory in (self.lab.directory, *list(self.lab.directory.parents)[:3]):
            directory.chmod(directory.stat().st_mode | 0o011)
        try:
            self.lab.switch.start()
            for name in (*SIDE_HOSTS, *self.lab.layout.hosts):
                self.lab.make_disk(name)
            for name in (INTERNET, *self.lab.layout.hosts):
                building.switch_on(self.lab, name)
                command = self.lab.disk(name) / "bin" / "systemctl"
                command.parent.mkdir()
                command.write_text(f'#!/bin/sh\nexec {sys.executable} {SYSTEMCTL} "$@"\n')
                command.chmod(0o755)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        hosts.end_all(self.lab.directory)

    def do(self, step: Step) -> None:
        """On each of its hosts."""
        for host in step.hosts:
            if step.path:
                script = 'mkdir -p "$(dirname "$1")" && cat > "$1"'
                self._run(host, ("sh", "-c", script, "sh", step.path), self._own(host, step.text))
            else:
                self._type(host, self._own(host, step.text))

    def _type(self, host: str, command: str) -> None:
        if command.startswith("ping "):  # a guest starts meanwhile
            until(lambda: self._shell(host, command).endswith(_WELL), command)
            return
        said = self._shell(host, command)
        assert said.endswith(_WELL), f"{host}# {command}\n{said[-6_000:]}"
        if found := re.search(r"^pileus-join-\S+$", said, re.MULTILINE):
            self._token = found[0]

    def _shell(self, host: str, command: str) -> str:
        """What it says, and then its exit status."""
        script = f"exec 2>&1; cd {ROOT}; export PATH={self.lab.disk(host)}/bin:$PATH; {command}\necho exit=$?"
        given = self._token + "\n" if command == "pileus join -" else ""
        said = self._run(host, ("sh", "-c", script), given)
        print(f"{host}# {command}\n{said}", flush=True)
        return said

    def _run(self, host: str, argv: tuple[str, ...], given: str) -> str:
        place = HostPlace(self.lab.host(host), "", self.lab.disk(host))
        return place.run(argv, timeout_s=TIMEOUT_S, input=given)

    def _own(self, host: str, text: str) -> str:
        """The page's words for what differs from host to host."""
        if host not in self.lab.layout.hosts:
            return text
        return text.replace("OWN-ADDRESS", addresses.management(self.lab.layout, host)).replace("OWN-NAME", host)
