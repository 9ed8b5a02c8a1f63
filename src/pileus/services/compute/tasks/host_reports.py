"""What hosts report: services and hypervisors are kept up to date from it, placement's inventory, and the state of
guests that changed without having been asked to. Agents have no database; their reports come over the bus."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import ServiceError
from pileus.kernel.process import Runtime
from pileus.services.compute import states
from pileus.services.compute.clients.placement import Inventory, PlacementClient
from pileus.services.compute.db import faults, hypervisors, servers, services
from pileus.services.compute.db.hypervisors import Hypervisor
from pileus.services.compute.flows.agent_calls import ask
from pileus.services.compute.logic import host_inventory
from pileus.services.compute.rpc import DESTROY_TIMEOUT_S, DestroyServer, GuestEvent, GuestSummary, HostReport

log = logging.getLogger(__name__)

WRITE_INVENTORY_AGAIN_S = 600.0
OFFER_AGAIN_S = 2.0  # placement did not answer: until it has the inventory, nothing is placed on the host
CATCH_UP_S = 60.0
RESTING = {"running": states.ACTIVE, "stopped": states.STOPPED, "crashed": states.STOPPED}


class HostReports:
    """Handles the messages of agents."""

    def __init__(self, rt: Runtime[Any]) -> None:
        self._rt = rt
        self._written: dict[str, tuple[float, dict[str, Inventory], str]] = {}
        self._seen: dict[str, dict[str, GuestSummary]] = {}
        self._to_offer: dict[str, Hypervisor] = {}
        self._leftovers: dict[tuple[str, str], GuestSummary] = {}
        self._offering = rt.every(CATCH_UP_S, self._offer_all, name="compute inventories")
        self._removing = rt.every(CATCH_UP_S, self._remove_leftovers, name="compute left-over guests")

    async def host_report(self, report: HostReport) -> None:
        """A host is alive and has these resources and guests. It is not kept waiting for what follows from that."""
        # A report is a moment old when it is read, and a flow may have ended meanwhile: what differs from the table
        # counts only when the report before said the same. Changes that are news come as events, at once.
        before = self._seen.get(report.host, {})
        steady = tuple(guest for guest in report.guests if before.get(guest.server_id) == guest)
        self._seen[report.host] = {guest.server_id: guest for guest in report.guests}
        hypervisor, leftovers = await self._rt.db.write(_take_in, report, steady)
        self._to_offer[report.host] = hypervisor
        self._offering.ring()
        if leftovers:
            self._leftovers |= {(report.host, guest.server_id): guest for guest in leftovers}
            self._removing.ring()

    async def guest_event(self, event: GuestEvent) -> None:
        """A guest changed by itself."""
        await self._rt.db.write(_guest_changed, event)

    async def _offer_all(self) -> None:
        for host, hypervisor in list(self._to_offer.items()):
            if await self._offer(hypervisor) and self._to_offer[host] is hypervisor:
                del self._to_offer[host]
        if self._to_offer:
            asyncio.get_running_loop().call_later(OFFER_AGAIN_S, self._offering.ring)

    async def _offer(self, hypervisor: Hypervisor) -> bool:
        """Tell placement what the host has, when that changed (or was told long ago). Whether it knows."""
        inventory = host_inventory.inventory_of(hypervisor.report, self._rt.config)
        name, now = hypervisor.report.hypervisor_hostname, time.monotonic()
        told = self._written.get(hypervisor.host)
        if told is not None and told[1:] == (inventory, name) and now - told[0] < WRITE_INVENTORY_AGAIN_S:
            return True
        client = self._rt.get(PlacementClient)
        try:
            await client.ensure_provider(hypervisor.uuid, name)
            await client.set_inventory(hypervisor.uuid, inventory)
        except ServiceError as error:
            log.warning("placement did not take the inventory of %s: %s", hypervisor.host, error.text)
            return False
        self._written[hypervisor.host] = (now, inventory, name)
        return True

    async def _remove_leftovers(self) -> None:
        while self._leftovers:
            (host, _), guest = self._leftovers.popitem()
            await self._remove(host, guest)

    async def _remove(self, host: str, guest: GuestSummary) -> None:
        """A guest of a server that was deleted, or moved, while this host did not answer."""
        log.warning("removing what is left of server %s on %s", guest.server_id, host)
        message = DestroyServer(server_id=guest.server_id, generation=guest.generation + 1)
        try:
            await ask(self._rt, host, message, timeout_s=DESTROY_TIMEOUT_S)
        except ServiceError as error:
            log.warning("removing server %s from %s failed: %s", guest.server_id, host, error.text)


def _take_in(
    tx: Tx, report: HostReport, steady: tuple[GuestSummary, ...]
) -> tuple[Hypervisor, list[GuestSummary]]:
    services.beat(tx, report.host, services.COMPUTE)
    hypervisor = hypervisors.save(tx, report)
    leftovers = []
    for guest in steady:
        server = servers.get(tx, guest.server_id, deleted=True)
        if server is None:
            log.warning("host %s has a guest of an unknown server %s; left alone", report.host, guest.server_id)
        elif server.deleted_at is not None or (server.task_state is None and server.host != report.host):
            leftovers.append(guest)
        elif server.task_state is None and server.generation >= guest.generation:
            # A lower one: the host never heard of the last intent, which has failed by now. Its guest counts as well.
            _settle(tx, server, guest.power_state)
    return hypervisor, leftovers


def _settle(tx: Tx, server: servers.Server, power: str) -> None:
    """A server that nobody works on is in the state that its guest is in."""
    vm_state, number = RESTING.get(power), states.POWER_NUMBERS.get(power, states.NO_STATE)
    if server.vm_state not in (states.ACTIVE, states.STOPPED) or vm_state is None:
        vm_state = server.vm_state
    if (vm_state, number) != (server.vm_state, server.power_state):
        servers.change(tx, server.id, vm_state=vm_state, power_state=number)


def _guest_changed(tx: Tx, event: GuestEvent) -> None:
    server = servers.get(tx, event.server_id)
    if server is None or server.host != event.host or server.generation != event.generation:
        return
    if server.task_state is not None:
        return  # a flow is at it and will say how it ended
    if event.kind in ("boot_failed", "recovery_failed"):
        message = event.fault.message if event.fault else "The guest did not start."
        power = states.POWER_NUMBERS.get(event.power_state, states.NO_STATE)
        servers.change(tx, server.id, vm_state=states.ERROR, power_state=power)
        faults.insert(tx, server.id, faults.NewFault(500, message, event.fault.detail if event.fault else ""))
    elif event.kind in ("stopped_by_itself", "started"):
        _settle(tx, server, event.power_state)
