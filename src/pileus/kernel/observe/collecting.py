"""A node's part in tracing: it records its hops, keeps them if it has databases, else sends them to a node that has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pileus.kernel.db import Database
from pileus.kernel.observe import hops, store
from pileus.kernel.observe.hops import Hop
from pileus.kernel.observe.recorder import TOPIC, HopsRecorded, Recorder
from pileus.kernel.tasks import Reconciler

if TYPE_CHECKING:
    from pileus.kernel.process.node import Node

PRUNE_S = 600.0
MAX_HOPS_PER_MESSAGE = 200


def begin(node: Node) -> Recorder:
    """Collect the hops of this task, and of all it starts from now on, and send them to whoever keeps them."""

    async def send(found: Sequence[Hop]) -> None:
        for at in range(0, len(found), MAX_HOPS_PER_MESSAGE):
            await node.bus.cast(TOPIC, HopsRecorded(hops=tuple(found[at : at + MAX_HOPS_PER_MESSAGE])))

    recorder = Recorder(node.config.host, send)
    hops.collect(recorder)
    node.spawn(recorder.run_forever(), name="trace recorder")
    return recorder


async def keep(node: Node, recorder: Recorder) -> Database:
    """Keep them here, and those that other nodes send. Returns the trace database, for the node to close in the end."""
    url = node.tables.get("database", {}).get(store.NAME)
    database = store.open_trace(Path(node.config.state_dir), url, node.clock)
    await asyncio.to_thread(store.make_table, database)

    async def write(found: Sequence[Hop]) -> None:
        await database.write(store.insert, found)

    async def received(message: HopsRecorded) -> None:
        await write(message.hops)

    async def prune() -> None:
        while await database.write(store.prune) >= store.PRUNE_ROWS:
            pass

    recorder.hand_on = write
    node.bus.listen(TOPIC, {HopsRecorded: received})
    node.spawn(Reconciler("trace pruning", prune, every_s=PRUNE_S).run_forever(), name="trace pruning")
    return database
