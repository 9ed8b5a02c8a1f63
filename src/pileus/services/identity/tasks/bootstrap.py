"""Makes at every start what a cloud needs to be logged into; what is there already stays as it is."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http.token_cache import TokensRevoked
from pileus.kernel.process import Runtime
from pileus.services.identity.api.auth.passwords import PasswordChecks
from pileus.services.identity.api.auth.session import Tokens
from pileus.services.identity.config import IdentityConfig
from pileus.services.identity.db import assignments, endpoints, projects, regions, roles, services, users
from pileus.services.identity.db.assignments import SYSTEM_ID, Assignment
from pileus.services.identity.db.endpoints import INTERFACES, Endpoint
from pileus.services.identity.db.projects import Project
from pileus.services.identity.db.regions import Region
from pileus.services.identity.db.roles import Role
from pileus.services.identity.db.services import CatalogService
from pileus.services.identity.db.users import User
from pileus.services.identity.drivers.tokens.fernet import FernetSealer
from pileus.services.identity.logic.password_hash import hash_random_secret, matches_random
from pileus.services.identity.tasks import token_keys
from pileus.services.identity.tasks.token_keys import TokenKeys

DEFAULT_DOMAIN = "default"
ROLES = ("admin", "manager", "member", "reader", "service")
IMPLICATIONS = (("admin", "manager"), ("manager", "member"), ("member", "reader"))


class Offered(msgspec.Struct, frozen=True):
    """A service for the catalogue."""

    type: str
    name: str
    description: str
    url: str


class Plan(msgspec.Struct, frozen=True):
    """What must be there after a start. passwords: of the services' users, by name."""

    admin_password: str
    region: str
    offered: tuple[Offered, ...]
    passwords: dict[str, str]


async def set_up(rt: Runtime[IdentityConfig]) -> None:
    """Keys, what the handlers need, and the first rows."""
    config = rt.config
    keys = TokenKeys(rt)
    await keys.set_up()  # first of all: a process with a wrong key must change no password
    rt.every(token_keys.READ_EVERY_S, keys.read, name="token keys")
    rt.put(keys)
    tokens = Tokens(rt, FernetSealer(keys.ring), keys.look_again)
    rt.put(tokens)

    async def forget(_event: TokensRevoked) -> None:
        tokens.cache.clear()

    rt.bus.subscribe(TokensRevoked, forget)  # revoked by another process
    rt.put(PasswordChecks(log2_cost=config.scrypt_log2_cost, memory_s=config.password_memory_s))
    await rt.db.write(bootstrap, _plan(rt))


def _plan(rt: Runtime[IdentityConfig]) -> Plan:
    node = rt.node
    offered = []
    known = [service for service in node.services.values() if service.offered]
    for service in known:
        url = node.siblings.catalog_url(node.config, service)
        offered.append(Offered(service.type, service.name, service.description, url))
        for kind, name in service.aliases.items():
            offered.append(Offered(kind, name, service.description, url))
    passwords = {service.type: node.service_password(service.type) for service in known}
    return Plan(node.secret("admin-password"), node.config.region, tuple(offered), passwords)


def bootstrap(tx: Tx, plan: Plan) -> None:
    """One transaction: all of it, or nothing."""
    if projects.get(tx, DEFAULT_DOMAIN) is None:
        projects.insert(tx, _project(DEFAULT_DOMAIN, "Default", None, "The default domain"))
    role_ids = {name: _ensure_role(tx, name) for name in ROLES}
    for prior, implied in IMPLICATIONS:
        roles.imply(tx, role_ids[prior], role_ids[implied])
    admin = _ensure_user(tx, "admin", plan.admin_password)
    admin_project = _ensure_project(tx, "admin", "The cloud's administrators")
    _ensure_grant(tx, admin.id, "project", admin_project, role_ids["admin"])
    _ensure_grant(tx, admin.id, "system", SYSTEM_ID, role_ids["admin"])
    service_project = _ensure_project(tx, "service", "The users of the cloud's own services")
    for name, password in plan.passwords.items():
        user = _ensure_user(tx, name, password)
        _heal_password(tx, user, password)
        for role in ("admin", "service"):
            _ensure_grant(tx, user.id, "project", service_project, role_ids[role])
    if regions.get(tx, plan.region) is None:
        regions.insert(tx, Region(id=plan.region, parent_region_id=None, description="", extra={}))
    for offered in plan.offered:
        _ensure_service(tx, offered, plan.region)


def _ensure_role(tx: Tx, name: str) -> str:
    found = roles.get_by_name(tx, name)
    if found is None:
        found = Role(id=tx.clock.new_hex_id(), domain_id=None, name=name, description=None, options={}, extra={})
        roles.insert(tx, found)
    return found.id


def _project(project_id: str, name: str, domain_id: str | None, description: str) -> Project:
    return Project(
        id=project_id, domain_id=domain_id, parent_id=domain_id, name=name, is_domain=domain_id is None, enabled=True,
        description=description, options={}, extra={},
    )


def _ensure_project(tx: Tx, name: str, description: str) -> str:
    found = projects.get_by_name(tx, name, DEFAULT_DOMAIN)
    if found is None:
        found = _project(tx.clock.new_hex_id(), name, DEFAULT_DOMAIN, description)
        projects.insert(tx, found)
    return found.id


def _ensure_user(tx: Tx, name: str, password: str) -> User:
    found = users.get_by_name(tx, name, DEFAULT_DOMAIN)
    if found is None:
        found = User(
            id=tx.clock.new_hex_id(), domain_id=DEFAULT_DOMAIN, name=name, enabled=True, created_at=tx.now(),
            password_hash=hash_random_secret(password), password_created_at=tx.now(),
        )
        users.insert(tx, found)
    return found


def _heal_password(tx: Tx, user: User, password: str) -> None:
    """A service logs in with the secret of the state directory: after a restore, that is what counts."""
    if not matches_random(password, user.password_hash):
        users.set_password(tx, user.id, hash_random_secret(password), None)


def _ensure_grant(tx: Tx, user_id: str, target_kind: str, target_id: str, role_id: str) -> None:
    assignments.add(tx, Assignment(
        actor_kind="user", actor_id=user_id, target_kind=target_kind, target_id=target_id, role_id=role_id,
    ))


def _ensure_service(tx: Tx, offered: Offered, region: str) -> None:
    service = services.get_by_type(tx, offered.type)
    if service is None:
        service = CatalogService(
            id=tx.clock.new_hex_id(), type=offered.type, name=offered.name, description=offered.description,
            enabled=True, extra={},
        )
        services.insert(tx, service)
    present = {endpoint.interface: endpoint for endpoint in endpoints.of_service(tx, service.id, region)}
    for interface in INTERFACES:
        endpoint: Any = present.get(interface)
        if endpoint is None:
            endpoints.insert(tx, Endpoint(
                id=tx.clock.new_hex_id(), service_id=service.id, region_id=region, interface=interface, url=offered.url,
            ))
        elif endpoint.url != offered.url:
            endpoints.update(tx, endpoint.id, {"url": offered.url})
