"""Flows that do not end."""

from __future__ import annotations

import msgspec
from sqlalchemy import update

from pileus.kernel.db import Tx
from pileus.kernel.flows import Fault, FlowStore
from pileus.kernel.flows.tables import ACTIVE_STATES, FAILED
from pileus.verify.finding import Finding
from pileus.verify.repairs.repair import DONE, RepairFailed, Tools, outcome

RUNNER_TAKES_S = 60.0
UNKNOWN = Fault(500, "Abandoned", "This version of the software cannot go on with it.")


def _store(tools: Tools, finding: Finding) -> FlowStore:
    store = tools.installation.services[finding.facts["service"]].flow_store
    assert store is not None, "the flow was read from this store"
    return store


async def abandon(tools: Tools, finding: Finding) -> str:
    """End a flow that nobody can run; what it left is found then."""
    store = _store(tools, finding)
    return outcome(await tools.databases[finding.facts["service"]].write(_abandon, store, finding.resources["flow"]))


def _abandon(tx: Tx, store: FlowStore, flow_id: str) -> bool:
    f = store.flows.c
    now = tx.now()
    ended = update(store.flows).where(f.id == flow_id, f.state.in_(ACTIVE_STATES)).values(
        state=FAILED, fault=msgspec.json.encode(UNKNOWN).decode(), ended_at=now, lease_owner=None, lease_until=None
    )
    return tx.execute(ended).rowcount == 1


async def hurry(tools: Tools, finding: Finding) -> str:
    """Take a late flow from whoever holds it, so that the next conductor undoes it now."""
    store = _store(tools, finding)
    await tools.databases[finding.facts["service"]].write(_release, store, finding.resources["flow"])
    if not tools.is_running:
        raise RepairFailed("it is undone once the cloud runs: start it")
    if not await tools.goes(finding, RUNNER_TAKES_S):
        raise RepairFailed(f"no conductor has undone it within {RUNNER_TAKES_S:.0f} s; see the log for what refuses")
    return DONE


def _release(tx: Tx, store: FlowStore, flow_id: str) -> None:
    """Whoever still works at it loses its lease with it, and can write nothing more."""
    f = store.flows.c
    tx.execute(
        update(store.flows).where(f.id == flow_id, f.state.in_(ACTIVE_STATES))
        .values(next_run_at=tx.now(), lease_owner=None, lease_until=None, lease_no=f.lease_no + 1)
    )
