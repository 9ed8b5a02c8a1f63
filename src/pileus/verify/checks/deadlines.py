"""What should have ended: states on the way to somewhere, and the flows that take them there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from pileus.kernel.flows.queries import OVERDUE_MARGIN_S
from pileus.services.compute import states as server_states
from pileus.services.image import states as image_states
from pileus.services.network import states as port_states
from pileus.verify.checks.parts import read
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference

UNDO_GRACE = timedelta(seconds=OVERDUE_MARGIN_S)
CLEAN_UP_GRACE = timedelta(hours=6)  # what a flow could not undo is tried again for ever; people should know by then
PORT_LIMIT = timedelta(seconds=120)  # agents look after their hosts every few seconds
UPLOAD_GRACE = 3  # so many times as long as the image service itself waits


def server_stuck(evidence: Evidence) -> Iterator[Difference]:
    """A server with something being done to it that nobody does."""
    for server in read(evidence.compute).servers.values():
        moving = server.task_state is not None or server.vm_state == server_states.BUILDING
        if moving and "compute" in evidence.flows_read and not evidence.at_work(server.id):
            yield Difference(
                resources={"server": server.id}, host=server.host or "",
                says=f"compute: it is {server.vm_state}, task {server.task_state}, since {server.updated_at:%F %T}",
                found="compute: no flow works on it", facts={"generation": server.generation},
            )  # fmt: skip


def image_stuck(evidence: Evidence) -> Iterator[Difference]:
    """An image whose upload said nothing for long."""
    limit = timedelta(seconds=evidence.upload_stale_s * UPLOAD_GRACE)
    for image in read(evidence.image).images.values():
        if image.status != image_states.SAVING:
            continue
        last = image.upload_beat_at or image.updated_at
        if evidence.at - last > limit:
            yield Difference(
                resources={"image": image.id}, says="image: the image is being uploaded",
                found=f"image: the upload has said nothing since {last:%F %T}",
                facts={"store_key": image.store_key or ""},
            )  # fmt: skip


def port_stuck(evidence: Evidence) -> Iterator[Difference]:
    """A port of a running server that does not come up."""
    servers, networks = read(evidence.compute).servers, read(evidence.network).networks
    for port in read(evidence.network).ports.values():
        server = servers.get(port.device_id)
        if server is None or server.vm_state != server_states.ACTIVE or server.task_state is not None:
            continue
        is_on = port.admin_state_up and networks[port.network_id].admin_state_up and port.host
        since = max(port.updated_at, server.updated_at)
        if is_on and port.status not in (port_states.ACTIVE, port_states.ERROR) and evidence.at - since > PORT_LIMIT:
            yield Difference(
                resources={"port": port.id, "server": server.id}, host=port.host,
                says=f"compute: the server is ACTIVE on {server.host}",
                found=f"network: its port is {port.status} since {since:%F %T}",
            )  # fmt: skip


def flow_overdue(evidence: Evidence) -> Iterator[Difference]:
    """A flow that should have ended, undone if need be."""
    for flow in evidence.flows:
        grace = CLEAN_UP_GRACE if flow.settled else UNDO_GRACE
        if flow.known and evidence.at - flow.deadline_at > grace:
            doing = "cleaning up" if flow.settled else flow.state
            yield Difference(
                resources={"flow": flow.id, "resource": flow.resource_id},
                says=f"{flow.service}: {flow.name} had to end by {flow.deadline_at:%F %T}",
                found=f"{flow.service}: it is {doing} at step {flow.step}", facts={"service": flow.service},
            )  # fmt: skip


def flow_unknown(evidence: Evidence) -> Iterator[Difference]:
    """A flow that this code cannot run: it waits for ever, and what it works on with it."""
    for flow in evidence.flows:
        if not flow.known:
            yield Difference(
                resources={"flow": flow.id, "resource": flow.resource_id},
                says=f"{flow.service}: {flow.name} version {flow.version} is {flow.state}",
                found=f"{flow.service}: this code has no such flow", facts={"service": flow.service},
            )  # fmt: skip
