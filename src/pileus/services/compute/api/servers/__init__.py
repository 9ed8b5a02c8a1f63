"""Servers, and what belongs to one: metadata, tags, addresses, interfaces, actions."""

from pileus.services.compute.api.servers import (
    actions,
    create,
    delete,
    instance_actions,
    list,
    metadata,
    show,
    tags,
    update,
)

ROUTES = (
    *list.ROUTES, *create.ROUTES, *show.ROUTES, *update.ROUTES, *delete.ROUTES, *metadata.ROUTES, *tags.ROUTES,
    *instance_actions.ROUTES, *actions.ROUTES,
)
