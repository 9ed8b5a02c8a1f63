"""Server actions, one file each."""

from pileus.services.compute.api.servers.actions import console_output, lock, power, reset_state, security_groups

ROUTES = (*power.ROUTES, *console_output.ROUTES, *lock.ROUTES, *reset_state.ROUTES, *security_groups.ROUTES)
