"""Microversions: what a service offers, and which one a request asks for."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from pileus.kernel.errors import BadRequest, NotAcceptable

HEADER = "openstack-api-version"
_VERSION = re.compile(r"^([1-9]\d{0,3})\.(0|[1-9]\d{0,3})$")


class Version(NamedTuple):
    """A microversion; compares as numbers do."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """From `2.53`. Raises ValueError."""
        match = _VERSION.match(text)
        if match is None:
            raise ValueError(text)
        return cls(int(match.group(1)), int(match.group(2)))


class Microversions(msgspec.Struct, frozen=True):
    """A service's range. `legacy_header`: the older, service-specific header (version without the service type).

    history: number and one sentence each, newest last; its ends are the offered minimum and maximum.
    """

    service_type: str
    history: tuple[tuple[str, str], ...]
    legacy_header: str | None = None

    @property
    def minimum(self) -> Version:
        return Version.parse(self.history[0][0])

    @property
    def maximum(self) -> Version:
        return Version.parse(self.history[-1][0])

    def negotiate(self, new: str | None, legacy: str | None) -> Version:
        """The version to answer with. `new` is the OpenStack-API-Version header, `legacy` the older one.

        400 for what is no version, 406 for one outside the range; the minimum when the client asks for none.
        """
        asked = self._asked(new) or (legacy.strip() if legacy else None)
        if asked is None:
            return self.minimum
        if asked.lower() == "latest":
            return self.maximum
        try:
            version = Version.parse(asked)
        except ValueError:
            raise BadRequest(
                f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
            ) from None
        if not self.minimum <= version <= self.maximum:
            raise NotAcceptable(version=version, minimum=self.minimum, maximum=self.maximum)
        return version

    def headers(self, version: Version) -> dict[str, str]:
        """What every answer carries."""
        headers = {"OpenStack-API-Version": f"{self.service_type} {version}", "Vary": "OpenStack-API-Version"}
        if self.legacy_header:
            headers[self.legacy_header] = str(version)
            headers["Vary"] += f", {self.legacy_header}"
        return headers

    def _asked(self, header: str | None) -> str | None:
        for part in (header or "").split(","):
            words = part.split()
            if len(words) == 2 and words[0].lower() == self.service_type:
                return words[1]
        return None
