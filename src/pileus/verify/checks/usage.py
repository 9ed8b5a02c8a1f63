"""What quotas count against what they are meant to count.

Usage is kept nowhere: `kernel/quota` counts rows in the transaction that adds one, so a counter cannot drift. What can
be wrong is what is counted: columns that repeat a server's flavor, and the project that a claim is booked to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pileus.services.compute.clients.placement import INSTANCE
from pileus.verify.checks.parts import read
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference


def server_counted_wrong(evidence: Evidence) -> Iterator[Difference]:
    """A server that counts for more, or less, than its flavor."""
    for server in read(evidence.compute).servers.values():
        if (server.vcpus, server.ram_mib) != (server.flavor_vcpus, server.flavor_ram_mib):
            yield Difference(
                resources={"server": server.id, "project": server.project_id},
                says=f"compute: its flavor has {server.flavor_vcpus} VCPU and {server.flavor_ram_mib} MiB",
                found=f"compute: it counts as {server.vcpus} VCPU and {server.ram_mib} MiB",
            )


def claim_booked_wrong(evidence: Evidence) -> Iterator[Difference]:
    """A claim that counts for another project or user than its server's."""
    servers = read(evidence.compute).servers
    for consumer in read(evidence.placement).consumers.values():
        server = servers.get(consumer.uuid)
        if server is None or consumer.consumer_type != INSTANCE:
            continue
        if (consumer.project_id, consumer.user_id) != (server.project_id, server.user_id):
            yield Difference(
                resources={"server": server.id},
                says=f"compute: it is of project {server.project_id}, user {server.user_id}",
                found=f"placement: its claim counts for project {consumer.project_id}, user {consumer.user_id}",
            )


def project_missing(evidence: Evidence) -> Iterator[Difference]:
    """Resources of a project that was deleted: nobody is left to see or delete them, and no quota counts them."""
    counts: Counter[tuple[str, str]] = Counter()
    if evidence.compute is not None:
        counts.update((server.project_id, "servers") for server in evidence.compute.servers.values())
    if evidence.image is not None:
        counts.update((image.owner or "", "images") for image in evidence.image.images.values())
    if evidence.network is not None:
        kinds = {
            "networks": evidence.network.networks, "ports": evidence.network.ports, "routers": evidence.network.routers,
            "floating IPs": evidence.network.floating_ips,
        }  # fmt: skip
        for kind, rows in kinds.items():
            counts.update((row.project_id, kind) for row in rows.values())
    known = read(evidence.identity).projects
    lost = sorted({project for project, _ in counts} - known - {""})
    for project in lost:
        what = ", ".join(f"{number} {kind}" for (owner, kind), number in sorted(counts.items()) if owner == project)
        yield Difference(
            resources={"project": project}, says=f"compute, image, network: {what} of the project",
            found="identity: there is no such project",
        )  # fmt: skip
