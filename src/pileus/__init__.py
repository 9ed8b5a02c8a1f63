"""Pileus: a whole cloud operating system that speaks the OpenStack APIs."""

__version__ = "0.1.0"
