"""Reconcilers, periodic work and the roles that listen on the bus."""
