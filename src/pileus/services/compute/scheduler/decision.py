"""What the scheduler answers: hosts in order, or why there is none."""

from __future__ import annotations

import re

import msgspec

NO_VALID_HOST = "No valid host was found. There are not enough hosts available."
MAX_REASONS_SHOWN = 3


class Refusal(msgspec.Struct, frozen=True):
    """Why one host did not pass one filter. needs, free: what it would take and what there is, in `unit`; both None
    when it is no matter of size."""

    reason: str
    needs: int | None = None
    free: int | None = None
    unit: str = ""


class FilterReport(msgspec.Struct, frozen=True):
    """All that one filter turned down. closest: the host that missed by least, with what a server needs and what is
    free there, when the filter measures.

    reasons: distinct reasons with the number of hosts of each, most frequent first.
    """

    filter: str
    hosts: int
    reasons: tuple[tuple[str, int], ...] = ()
    closest: str | None = None
    needs: int = 0
    free: int = 0
    unit: str = ""

    def explain(self) -> str:
        """`ram turned down 3 (needs 4096 MiB, most free 1024 MiB on h2)`."""
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.filter.removesuffix("Filter")).lower()
        return f"{name} turned down {self.hosts} ({self._why()})"

    def _why(self) -> str:
        if self.closest is not None:
            return f"needs {self.needs} {self.unit}, most free {max(self.free, 0)} {self.unit} on {self.closest}"
        shown = [f"{reason} ({count})" if count > 1 else reason for reason, count in self.reasons[:MAX_REASONS_SHOWN]]
        more = len(self.reasons) - len(shown)
        return f"{'; '.join(shown)}{f'; and {more} more reasons' if more > 0 else ''}"


class Ranked(msgspec.Struct, frozen=True):
    """A host that passed, and what each weigher gave it."""

    host: str
    weight: float
    parts: dict[str, float] = {}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one request.

    assignments: one host name per requested server, in order; empty when not all of them found one.
    ranked: every host that passed for the first server, best first. refusals: per filter, in the order asked, for the
    server that found no host (the first one otherwise). considered: how many hosts there were. placed: how many servers
    found a host before one did not.
    """

    assignments: tuple[str, ...]
    ranked: tuple[Ranked, ...]
    refusals: tuple[FilterReport, ...]
    considered: int
    placed: int

    @property
    def chosen(self) -> str | None:
        """The first server's host; None when there is no valid host."""
        return self.assignments[0] if self.assignments else None

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The other hosts that passed, best first: to try when a claim or a build fails."""
        return tuple(item.host for item in self.ranked if item.host != self.chosen)

    @property
    def user_text(self) -> str:
        """What the server's owner reads when there is no host; says nothing of the cloud's insides."""
        return NO_VALID_HOST

    @property
    def lacks_room(self) -> bool:
        """Whether some hosts were turned down for what they have left."""
        return any(report.closest is not None for report in self.refusals)

    def explain(self) -> str:
        """One line for operators: what was chosen and with which weight, or what turned down whom."""
        turned_down = ", ".join(report.explain() for report in self.refusals)
        if self.assignments:
            best = self.ranked[0]
            text = f"{best.host} (weight {best.weight:.3f}) of {_hosts(len(self.ranked))} that fit"
            return f"{text}; {turned_down}" if turned_down else text
        if not self.considered:
            return "There are no compute hosts."
        which = f" for server {self.placed + 1}" if self.placed else ""
        verdict = "No host had room" if self.lacks_room else "No host was suitable"
        return f"{verdict}{which}: {_hosts(self.considered)}: {turned_down}"


def _hosts(count: int) -> str:
    return f"{count} host{'s' if count != 1 else ''}"
