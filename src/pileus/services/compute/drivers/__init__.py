"""Drivers of the compute service, by kind."""
