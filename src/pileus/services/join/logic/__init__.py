"""Decisions without I/O: tokens, what a host is granted, the cloud's own certificate authority."""
