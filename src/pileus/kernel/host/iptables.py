"""Load whole iptables rule sets at once, for IPv4 and IPv6.

A text in iptables-restore format is applied table by table, each table in one step: packets see the old rules or the
new ones, never a mixture.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from . import nftables
from .command import run
from .namespaces import namespace_inode, run_inside

Family = Literal["ipv4", "ipv6"]
_RESTORE: dict[str, str] = {"ipv4": "iptables-restore", "ipv6": "ip6tables-restore"}
_SAVE: dict[str, str] = {"ipv4": "iptables-save", "ipv6": "ip6tables-save"}
LOCK_WAIT_S = 10
LOAD_TIMEOUT_S = 20.0


async def load_rules(family: Family, text: str, *, keep_others: bool, namespace: str | None = None) -> None:
    """Apply a restore text. With `keep_others`, chains it does not mention stay as they are."""
    argv = [_RESTORE[family], "-w", str(LOCK_WAIT_S)]
    if keep_others:
        argv.append("--noflush")
    await run_inside(namespace, argv, input=text, timeout_s=LOAD_TIMEOUT_S)


async def save_rules(family: Family, namespace: str | None = None) -> tuple[str, ...]:
    """The rules in force, one line each, without comments and counters, with a line "*table" before each table."""
    saved = await run_inside(namespace, (_SAVE[family],))
    lines = []
    for line in saved.text.splitlines():
        if line.startswith("#") or line == "COMMIT":
            continue
        lines.append(line.split(" [", 1)[0] if line.startswith(":") else line)
    return tuple(lines)


_Version = tuple[int | None, int]  # which namespace of that name, and its ruleset generation


class ChangeDetector:
    """Tells whether rules of a namespace may have been changed by anybody since they were last looked at.

    One small question to the kernel instead of listing all rules. Where iptables is the legacy kind the kernel keeps
    no such number: then the answer is always yes.
    """

    def __init__(self) -> None:
        self._is_countable: bool | None = None
        self._seen: dict[str | None, _Version] = {}

    async def may_have_changed(self, namespace: str | None = None) -> bool:
        now = await self.version(namespace)
        return now is None or self._seen.get(namespace) != now

    async def version(self, namespace: str | None = None) -> _Version | None:
        """What rules there are now; None where the kernel does not tell. Read it before looking at the rules: what
        changes between the two is then noticed the next time."""
        if self._is_countable is None:
            self._is_countable = "nf_tables" in (await run(("iptables", "-V"))).text
        if not self._is_countable:
            return None
        inode = namespace_inode(namespace) if namespace is not None else None
        return inode, await nftables.generation(namespace)

    def looked(self, version: _Version | None, namespace: str | None = None) -> None:
        """The rules of this version are as they should be."""
        if version is not None:
            self._seen[namespace] = version

    def keep(self, namespaces: set[str]) -> None:
        self._seen = {name: number for name, number in self._seen.items() if name is None or name in namespaces}


class RuleKeeper:
    """Keeps whole rule sets in namespaces that are ours alone; loads only what differs from what is in force."""

    def __init__(self) -> None:
        self._detector = ChangeDetector()
        self._loaded: dict[str, dict[Family, str]] = {}

    async def is_in_force(self, texts: dict[Family, str], namespace: str) -> bool:
        """True if these very texts were loaded here and nobody changed anything since."""
        return self._loaded.get(namespace) == texts and not await self._detector.may_have_changed(namespace)

    async def load(self, texts: dict[Family, str], namespace: str) -> None:
        """Make each text the whole rule set of its family in the namespace."""
        self._loaded.pop(namespace, None)
        for family, text in texts.items():
            await load_rules(family, text, keep_others=False, namespace=namespace)
        version = await self._detector.version(namespace)
        self._loaded[namespace] = dict(texts)
        self._detector.looked(version, namespace)

    def keep(self, namespaces: set[str]) -> None:
        """Forget what was loaded into namespaces that are gone."""
        self._loaded = {name: texts for name, texts in self._loaded.items() if name in namespaces}
        self._detector.keep(namespaces)


async def remove_chains(family: Family, prefix: str) -> bool:
    """Remove the chains whose names begin so, and all jumps to them. False when there are none. Raises CommandError."""
    text = _removal(await save_rules(family), prefix)
    if text:
        await load_rules(family, text, keep_others=True)
    return bool(text)


def _removal(saved: Iterable[str], prefix: str) -> str:
    """What iptables-restore has to do for that, given what iptables-save says."""
    lines: list[str] = []
    chains: list[str] = []
    for line in [*saved, "*"]:
        if line.startswith("*"):
            if chains:
                lines += [*(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains), "COMMIT"]
            while lines and lines[-1].startswith("*"):
                lines.pop()
            lines.append(line)
            chains = []
        elif line.startswith(f":{prefix}"):
            chains.append(line.split()[0].removeprefix(":"))
        elif line.startswith("-A ") and f" -j {prefix}" in line and not line.startswith(f"-A {prefix}"):
            lines.append("-D" + line.removeprefix("-A"))
    return "".join(f"{line}\n" for line in lines[:-1])
