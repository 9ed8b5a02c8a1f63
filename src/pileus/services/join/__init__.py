"""Hosts join the cloud: one-time tokens, the cloud's own certificate authority, what a host is given."""
