"""The placement service, as far as compute needs it.

What another writer changed meanwhile (placement answers 409 `placement.concurrent_update`) is read again and tried
again, a bounded number of times.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec

from pileus.kernel.errors import RemoteError
from pileus.kernel.http.client import HttpResult, ServiceSession

R = TypeVar("R")

MICROVERSION = "1.39"
ATTEMPTS = 6
FIRST_PAUSE_S = 0.01
CONCURRENT_UPDATE = "placement.concurrent_update"
INSTANCE = "INSTANCE"
MAX_CANDIDATES = 1_000


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider has of one resource class. Capacity is (total - reserved) * allocation_ratio."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 2_147_483_647
    step_size: int = 1
    allocation_ratio: float = 1.0

    @property
    def capacity(self) -> int:
        """What may be claimed altogether."""
        return int((self.total - self.reserved) * self.allocation_ratio)


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A resource provider; a compute host's has the hypervisor's uuid and hostname."""

    uuid: str
    name: str
    generation: int
    parent_provider_uuid: str | None = None
    root_provider_uuid: str = ""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A provider of an answer about candidates. resources: (capacity, used) by class."""

    uuid: str
    root_provider_uuid: str
    resources: dict[str, tuple[int, int]]
    traits: frozenset[str] = frozenset()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to satisfy a request: amounts by provider and class, and which group went to which providers."""

    allocations: dict[str, dict[str, int]]
    mappings: dict[str, list[str]] = {}


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """An answer about candidates. by_root: the ways to satisfy the request by their tree's root, a host's provider."""

    by_root: dict[str, list[Candidate]]
    summaries: dict[str, Summary]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer (a server) has. allocations: amounts by provider and class; empty when it has nothing."""

    allocations: dict[str, dict[str, int]]
    generation: int | None = None
    project_id: str = ""
    user_id: str = ""
    consumer_type: str = ""


class PlacementClient:
    """Typed calls on a session, made as compute itself."""

    def __init__(self, session: ServiceSession) -> None:
        self._session = session

    # -- providers -------------------------------------------------------------------------------------------------

    async def providers(
        self, *, name: str | None = None, uuid: str | None = None, in_tree: str | None = None
    ) -> list[Provider]:
        """Providers, all or those that match."""
        query = {key: value for key, value in (("name", name), ("uuid", uuid), ("in_tree", in_tree)) if value}
        result = await self._ask("GET", "/resource_providers", query=query)
        return msgspec.convert(result.json()["resource_providers"], list[Provider])

    async def provider(self, provider_id: str) -> Provider | None:
        """One provider; None when there is none."""
        try:
            result = await self._ask("GET", f"/resource_providers/{provider_id}")
        except RemoteError as error:
            if error.code == 404:
                return None
            raise
        return msgspec.convert(result.json(), Provider)

    async def ensure_provider(self, provider_id: str, name: str, *, parent_id: str | None = None) -> Provider:
        """The provider of that id, made or renamed when that is needed."""

        async def attempt() -> Provider:
            found = await self.provider(provider_id)
            body = {"name": name, "parent_provider_uuid": parent_id}
            if found is None:
                new = {"uuid": provider_id, "name": name} | ({"parent_provider_uuid": parent_id} if parent_id else {})
                result = await self._ask("POST", "/resource_providers", body=new)
            elif (found.name, found.parent_provider_uuid) != (name, parent_id):
                result = await self._ask("PUT", f"/resource_providers/{provider_id}", body=body)
            else:
                return found
            return msgspec.convert(result.json(), Provider)

        # Two that create at once: the second meets a duplicate and finds the provider at its next attempt.
        return await _retried(attempt, also={"placement.duplicate_name"})

    async def delete_provider(self, provider_id: str) -> None:
        """Delete a provider; one that is gone is fine. 409 while something is claimed from it."""
        try:
            await self._ask("DELETE", f"/resource_providers/{provider_id}")
        except RemoteError as error:
            if error.code != 404:
                raise

    async def inventory(self, provider_id: str) -> dict[str, Inventory]:
        """A provider's inventory by resource class."""
        result = await self._ask("GET", f"/resource_providers/{provider_id}/inventories")
        return msgspec.convert(result.json()["inventories"], dict[str, Inventory])

    async def set_inventory(self, provider_id: str, inventories: Mapping[str, Inventory]) -> bool:
        """Make the provider's inventory exactly this; writes only when it differs. Whether it wrote.

        409 `placement.inventory.inuse` when a class would go of which something is claimed.
        """
        path = f"/resource_providers/{provider_id}/inventories"

        async def attempt() -> bool:
            current = (await self._ask("GET", path)).json()
            if msgspec.convert(current["inventories"], dict[str, Inventory]) == dict(inventories):
                return False
            generation = current["resource_provider_generation"]
            body = {"resource_provider_generation": generation, "inventories": dict(inventories)}
            await self._ask("PUT", path, body=body)
            return True

        return await _retried(attempt)

    async def set_traits(self, provider_id: str, traits: Collection[str]) -> bool:
        """Make the provider's traits exactly these, creating missing `CUSTOM_` ones. Whether it wrote."""
        path = f"/resource_providers/{provider_id}/traits"

        async def attempt() -> bool:
            current = (await self._ask("GET", path)).json()
            if set(current["traits"]) == set(traits):
                return False
            for trait in sorted(set(traits) - set(current["traits"])):
                if trait.startswith("CUSTOM_"):
                    await self._ask("PUT", f"/traits/{trait}")
            generation = current["resource_provider_generation"]
            await self._ask("PUT", path, body={"resource_provider_generation": generation, "traits": sorted(traits)})
            return True

        return await _retried(attempt)

    async def traits(self, provider_id: str) -> frozenset[str]:
        """A provider's traits."""
        return frozenset((await self._ask("GET", f"/resource_providers/{provider_id}/traits")).json()["traits"])

    async def set_aggregates(self, provider_id: str, aggregates: Collection[str]) -> bool:
        """Make the provider a member of exactly these aggregates (uuids). Whether it wrote."""
        path = f"/resource_providers/{provider_id}/aggregates"

        async def attempt() -> bool:
            current = (await self._ask("GET", path)).json()
            if set(current["aggregates"]) == set(aggregates):
                return False
            generation = current["resource_provider_generation"]
            body = {"resource_provider_generation": generation, "aggregates": sorted(aggregates)}
            await self._ask("PUT", path, body=body)
            return True

        return await _retried(attempt)

    async def usages(self, provider_id: str) -> dict[str, int]:
        """What is claimed from a provider, by resource class."""
        return (await self._ask("GET", f"/resource_providers/{provider_id}/usages")).json()["usages"]

    async def claims_on(self, provider_id: str) -> dict[str, dict[str, int]]:
        """What each consumer has from a provider."""
        result = await self._ask("GET", f"/resource_providers/{provider_id}/allocations")
        found = result.json()["allocations"]
        return {consumer: item["resources"] for consumer, item in found.items()}

    # -- candidates and claims -------------------------------------------------------------------------------------

    async def allocation_candidates(
        self, resources: Mapping[str, int], *, required: Collection[str] = (), forbidden: Collection[str] = (),
        member_of: Collection[str] = (), in_tree: str | None = None, limit: int = MAX_CANDIDATES,
        groups: Mapping[str, Any] | None = None,
    ) -> Candidates:
        """Ways to satisfy a request now. Amounts of zero are left out; with no amounts at all there is none to ask for.

        member_of: aggregates, any one of them. groups: further query parameters, such as those of numbered groups.
        """
        wanted = ",".join(f"{name}:{amount}" for name, amount in sorted(resources.items()) if amount > 0)
        traits = ",".join([*sorted(required), *(f"!{trait}" for trait in sorted(forbidden))])
        query: dict[str, Any] = {"limit": limit, **(groups or {})}
        if wanted:
            query["resources"] = wanted
        if traits:
            query["required"] = traits
        if member_of:
            query["member_of"] = "in:" + ",".join(sorted(member_of))
        if in_tree:
            query["in_tree"] = in_tree
        return _candidates((await self._ask("GET", "/allocation_candidates", query=query)).json())

    async def allocations_of(self, consumer_id: str) -> Claim:
        """What a consumer has."""
        found = (await self._ask("GET", f"/allocations/{consumer_id}")).json()
        return Claim(
            allocations={provider: item["resources"] for provider, item in found["allocations"].items()},
            generation=found.get("consumer_generation"), project_id=found.get("project_id", ""),
            user_id=found.get("user_id", ""), consumer_type=found.get("consumer_type", ""),
        )

    async def claim(
        self, consumer_id: str, allocations: Mapping[str, Mapping[str, int]], *, project_id: str, user_id: str,
        consumer_type: str = INSTANCE, mappings: Mapping[str, list[str]] | None = None,
    ) -> bool:
        """Make what a consumer has exactly this, all or nothing. False when there is no room (any more).

        May be repeated; a claim of the same consumer elsewhere is replaced. `RemoteError` for everything else.
        """
        wanted = {provider: dict(amounts) for provider, amounts in allocations.items()}
        generation: int | None = None

        async def attempt() -> bool:
            nonlocal generation
            body: dict[str, Any] = {
                "allocations": {provider: {"resources": amounts} for provider, amounts in wanted.items()},
                "project_id": project_id, "user_id": user_id, "consumer_generation": generation,
                "consumer_type": consumer_type,
            }
            if mappings:
                body["mappings"] = dict(mappings)
            try:
                await self._ask("PUT", f"/allocations/{consumer_id}", body=body)
            except RemoteError as error:
                if error.code == 409 and error.type == CONCURRENT_UPDATE:
                    current = await self.allocations_of(consumer_id)
                    if current.allocations == wanted:
                        return True
                    generation = current.generation
                    raise
                if error.code == 409:
                    return False
                raise
            return True

        return await _retried(attempt)

    async def release(self, consumer_id: str) -> bool:
        """Give back all that a consumer has. Whether it had anything."""
        try:
            await self._ask("DELETE", f"/allocations/{consumer_id}")
        except RemoteError as error:
            if error.code == 404:
                return False
            raise
        return True

    async def _ask(
        self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> HttpResult:
        headers = {"OpenStack-API-Version": f"placement {MICROVERSION}"}
        return await self._session.request("placement", method, path, body=body, query=query, headers=headers)


async def _retried(attempt: Callable[[], Awaitable[R]], also: Collection[str] = ()) -> R:
    pause = FIRST_PAUSE_S
    for left in reversed(range(ATTEMPTS)):
        try:
            return await attempt()
        except RemoteError as error:
            again = error.code == 409 and (error.type == CONCURRENT_UPDATE or error.type in also)
            if not again or not left:
                raise
        await asyncio.sleep(pause * (0.5 + random.random()))
        pause *= 2
    raise AssertionError("unreachable")


def _candidates(found: dict[str, Any]) -> Candidates:
    summaries = {
        uuid: Summary(
            uuid=uuid, root_provider_uuid=item["root_provider_uuid"], traits=frozenset(item["traits"]),
            resources={name: (one["capacity"], one["used"]) for name, one in item["resources"].items()},
        )
        for uuid, item in found["provider_summaries"].items()
    }
    by_root: dict[str, list[Candidate]] = {}
    for item in found["allocation_requests"]:
        amounts = {provider: one["resources"] for provider, one in item["allocations"].items()}
        candidate = Candidate(allocations=amounts, mappings=item.get("mappings", {}))
        for root in {summaries[provider].root_provider_uuid for provider in amounts}:
            by_root.setdefault(root, []).append(candidate)
    return Candidates(by_root=by_root, summaries=summaries)
