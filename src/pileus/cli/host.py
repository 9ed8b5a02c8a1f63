"""`pileus host token|list|remove`: on a controller, who may join the cloud and who has."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence

from pileus.cli.layout import Layout
from pileus.kernel import config as configuration
from pileus.kernel.config import ConfigError
from pileus.kernel.db import Database, migrations
from pileus.kernel.process import secrets
from pileus.kernel.process.buses import is_local
from pileus.kernel.process.databases import open_database
from pileus.kernel.process.siblings import SECTION as ENDPOINTS
from pileus.services import discover
from pileus.services.join.config import JoinConfig
from pileus.services.join.db import hosts, tokens
from pileus.services.join.logic import grant, join_token, place
from pileus.services.join.logic.authority import Authority
from pileus.services.join.logic.grant import Grant, UnfitGrant
from pileus.services.join.service import SERVICE
from pileus.services.join.tasks.listen import SECRET

LOOPBACK = ("127.", "localhost", "::1", "0.0.0.0", "::")
LONGEST_TTL_S = 30 * 86_400


def token(layout: Layout, processes: Sequence[str], ttl_s: int | None) -> int:
    """Print a new token, alone on its line; 2 when no host can be what it is for."""
    config = configuration.section(layout.tables, "join", JoinConfig)
    if is_local(layout.tables):
        raise ConfigError('hosts can only join a cloud with a message broker: set [bus] url = "amqp://…"')
    valid_s = config.token_ttl_s if ttl_s is None else ttl_s
    try:
        if not 0 < valid_s <= LONGEST_TTL_S:
            raise UnfitGrant(f"a token is good for 1 to {LONGEST_TTL_S} seconds, not {valid_s}")
        granted = grant.make(processes, discover(), _endpoints(layout), layout.tables)
    except UnfitGrant as error:
        print(f"pileus: {error}", file=sys.stderr)
        return 2
    with _opened(layout) as database:
        own = Authority(secrets.secret(layout.state_dir, SECRET), layout.node.cloud)
        made = join_token.new(_reached_at(layout, config), own.fingerprint)
        expires_at = database.run(tokens.insert, made.id, join_token.digest(made.secret), granted, valid_s)
    print(join_token.write(made))
    _explain(layout, granted, made.at, f"{expires_at:%Y-%m-%d %H:%M:%S} UTC")
    return 0


def _reached_at(layout: Layout, config: JoinConfig) -> str:
    found = config.reached_at(layout.node)
    try:
        place.parts(found)
    except ValueError as error:
        raise ConfigError(f"[join] address: {error}") from error
    return found


def _explain(layout: Layout, granted: Grant, at: str, expires: str) -> None:
    """For people only: what stands on the other line may be piped."""
    what = "a controller: it lets its host know every secret of the cloud" if granted.is_controller else "agents"
    print(f"Good once, until {expires}, for {what}.", file=sys.stderr)
    print("On the new host: pileus join -     (then the token, so that it is in no list of processes)", file=sys.stderr)
    far = {"[join] address": place.parts(at)[0]} | {f"[{ENDPOINTS}] {k}": u for k, u in granted.endpoints.items()}
    near = [name for name, where in far.items() if _is_near(where)]
    if near:
        print(f"Another machine cannot reach this one's loopback address: {', '.join(near)}.", file=sys.stderr)
    if layout.node.host == "localhost":
        print("[node] host is `localhost`; a cloud of many hosts should name this one.", file=sys.stderr)


def _is_near(where: str) -> bool:
    return where.partition("://")[2].startswith(LOOPBACK) if "://" in where else where.startswith(LOOPBACK)


def _endpoints(layout: Layout) -> Mapping[str, str]:
    """Where each API is: as the configuration says, else on this node."""
    given = layout.tables.get(ENDPOINTS, {})
    here = {service.type: layout.node.url + service.path for service in discover() if service.offered}
    return here | given


def show(layout: Layout) -> int:
    """Print the hosts that joined, and the controllers that let them."""
    with _opened(layout) as database:
        found = database.run(hosts.in_order)
    width = max((len(host.name) for host in found), default=0)
    for host in found:
        processes = "; ".join(f"{name}: {', '.join(one['roles'])}" for name, one in host.processes.items())
        how = f"joined {host.joined_at:%Y-%m-%d %H:%M} UTC from" if host.key_digest else "a first controller, at"
        print(f"{host.name:<{width}}  {how} {host.address}  {processes}".rstrip())
    if not found:
        print("No host has joined yet, and no `join-api` has run.")
    return 0


def remove(layout: Layout, name: str) -> int:
    """Forget a host that is no more, so that its name is free; 1 when there is none."""
    with _opened(layout) as database:
        if not database.run(hosts.remove, name):
            raise RuntimeError(f"no host {name} has joined")
    print(f"{name} is forgotten; a host may join by that name. The secrets that it was given are still good.")
    return 0


@contextlib.contextmanager
def _opened(layout: Layout) -> Iterator[Database]:
    if not any((layout.state_dir / name).exists() for name in (secrets.KEY_FILE, secrets.FILE)):
        raise RuntimeError(f"there is no cloud in {layout.state_dir} yet; start it first")
    if not secrets.is_controller(layout.state_dir):
        raise RuntimeError("this host runs agents only; run the command on a controller")
    database = open_database(layout.node, layout.tables, SERVICE)
    try:
        migrations.upgrade(database, SERVICE.db or "")
        yield database
    finally:
        database.close()
