"""Everything the network service limits per project, and how it is counted. Names and defaults are the known ones."""

from __future__ import annotations

from collections.abc import Mapping

from pileus.kernel.db import Tx
from pileus.kernel.quota import Limited, Quotas
from pileus.services.network.db import floating_ips, networks, ports, routers, security_groups, subnet_pools, subnets
from pileus.services.network.db.metadata import QUOTAS
from pileus.services.network.errors import OverQuota

LIMITED = (
    Limited("network", 100, networks.count_of_project),
    Limited("subnet", 100, subnets.count_of_project),
    Limited("subnetpool", -1, subnet_pools.count_of_project),
    Limited("port", 500, ports.count_of_project),
    Limited("router", 10, routers.count_of_project),
    Limited("floatingip", 50, floating_ips.count_of_project),
    Limited("security_group", 10, security_groups.count_of_project),
    Limited("security_group_rule", 100, security_groups.count_rules_of_project),
)


def quotas(defaults: Mapping[str, int] | None = None) -> Quotas:
    """The limits of this cloud; `defaults` are the operator's."""
    return Quotas(QUOTAS, LIMITED, defaults)


def claim(tx: Tx, limits: Quotas, project_id: str, name: str, number: int = 1) -> None:
    """Raise `OverQuota` unless the project may have `number` more."""
    for broken in limits.exceeded(tx, project_id, {name: number}):
        raise OverQuota(names=[name], detail=broken.explain(project_id))
