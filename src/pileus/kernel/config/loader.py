"""Reads pileus.toml. Every option is a field of a struct with a default, a unit in its name and a docstring."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

T = TypeVar("T")
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class ConfigError(ValueError):
    """The configuration cannot be used; the text names the option."""


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table [node]: what concerns the process itself.

    host: this host's name in the cloud. cloud: name of the cloud; devices and guests are marked with it.
    state_dir: everything that must survive. listen, port: where the one HTTP port opens. public_url: how clients reach
    it, when that differs (behind a proxy). usual_ports: also open 5000, 8774, 8778, 9292, 9696. region: the
    catalogue's region.
    """

    host: str = msgspec.field(default_factory=socket.gethostname)
    cloud: str = "pileus"
    state_dir: str = "/var/lib/pileus"
    listen: str = "127.0.0.1"
    port: Port = 8900
    public_url: str | None = None
    usual_ports: bool = False
    region: str = "RegionOne"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def url(self) -> str:
        """Where clients find this node, without a trailing slash."""
        return self.public_url.rstrip("/") if self.public_url else self.local_url

    @property
    def local_url(self) -> str:
        """Where this host finds it."""
        host = "127.0.0.1" if self.listen in ("0.0.0.0", "::") else self.listen
        return f"http://{host}:{self.port}"


class BusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table [bus]: how roles reach each other. url: `local` when all are in one process, else a broker's, such as
    `amqp://user:password@10.0.0.1:5672/`, or a list with that of each member of its cluster."""

    url: str | list[str] = "local"

    @property
    def brokers(self) -> tuple[str, ...]:
        """The URLs of the broker's members; none when messages stay in the process."""
        given = [self.url] if isinstance(self.url, str) else self.url
        return () if given == ["local"] else tuple(given)


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table [cache]: where processes share what they know of tokens. servers: memcached's, as `10.0.0.1:11211`; the
    same list for all processes. None: each process remembers for itself."""

    servers: tuple[str, ...] = ()


def load(path: Path | None) -> dict[str, Any]:
    """All tables of the file; none when there is no file."""
    if path is None or not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not even text
        raise ConfigError(f"{path}: {error}") from error


def section(tables: dict[str, Any], name: str, kind: type[T]) -> T:
    """The table `name` as a struct of type `kind`; unknown or ill-typed options raise `ConfigError`."""
    try:
        return msgspec.convert(tables.get(name, {}), kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[{name}] {error}") from error


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two configurations as one: what `above` says counts, table by table."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = over(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged
