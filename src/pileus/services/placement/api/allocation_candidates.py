"""Allocation candidates: the ways in which a request can be satisfied now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.api.resource_providers import features
from pileus.services.placement.db import resource_classes as classes
from pileus.services.placement.db import snapshot, traits
from pileus.services.placement.errors import UnknownClasses, UnknownTraits
from pileus.services.placement.logic import candidates, request_groups
from pileus.services.placement.logic.candidates import Candidate, Node, Snapshot
from pileus.services.placement.logic.request_groups import CandidatesQuery

Found = tuple[Snapshot, list[Candidate]]


async def list_candidates(call: Call[Any]) -> Reply:
    """Ready-made bodies for claims, and what the providers in them have left."""
    query = request_groups.parse(call.query.multi_items(), call.version, features(call))
    known, found = await call.rt.db.read(_search, query, call.rt.config.max_combinations)
    body = {
        "allocation_requests": [_view(call, candidate) for candidate in found],
        "provider_summaries": {
            node.uuid: _summary(call, node, query) for node in _summarised(call, known, found)
        },
    }
    return fresh(call, body)


def _search(tx: Tx, query: CandidatesQuery, max_combinations: int) -> Found:
    if unknown := classes.unknown(tx, query.classes()):
        raise UnknownClasses(f"Invalid resource class in resources parameter: No such resource class {unknown[0]}.")
    if unknown := traits.unknown(tx, query.traits()):
        raise UnknownTraits(names=", ".join(unknown))
    known = snapshot.load(tx)
    return known, candidates.find(known, query, max_combinations=max_combinations)


def _view(call: Call[Any], candidate: Candidate) -> dict[str, Any]:
    if not call.at_least("1.12"):
        shares = [
            {"resource_provider": {"uuid": uuid}, "resources": amounts}
            for uuid, amounts in candidate.allocations.items()
        ]
        return {"allocations": shares}
    shown: dict[str, Any] = {
        "allocations": {uuid: {"resources": amounts} for uuid, amounts in candidate.allocations.items()}
    }
    if call.at_least("1.34"):
        shown["mappings"] = candidate.mappings
    return shown


def _summarised(call: Call[Any], known: Snapshot, found: Sequence[Candidate]) -> list[Node]:
    """Providers to summarise: from 1.29 on whole trees, before that only those of the candidates."""
    used = {uuid: None for candidate in found for uuid in candidate.allocations}
    if not call.at_least("1.29"):
        return [known.nodes[uuid] for uuid in used]
    roots = {known.nodes[uuid].root_uuid: None for uuid in used}
    return [node for root in roots for node in known.trees[root]]


def _summary(call: Call[Any], node: Node, query: CandidatesQuery) -> dict[str, Any]:
    shown = node.stocks
    if not call.at_least("1.27"):
        asked = query.classes()
        shown = {name: stock for name, stock in shown.items() if name in asked}
    summary: dict[str, Any] = {
        "resources": {
            name: {"capacity": stock.inventory.capacity, "used": stock.used} for name, stock in shown.items()
        }
    }
    if call.at_least("1.17"):
        summary["traits"] = sorted(node.traits)
    if call.at_least("1.29"):
        summary["parent_provider_uuid"], summary["root_provider_uuid"] = node.parent_uuid, node.root_uuid
    return summary


ROUTES = (
    Route(
        method="GET", path="/allocation_candidates", handler=list_candidates,
        policy="placement:allocation_candidates:list", since="1.10",
    ),
)
