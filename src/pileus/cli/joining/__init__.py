"""`pileus join`: this machine becomes a host of a cloud that runs elsewhere."""

from pileus.cli.joining.command import join

__all__ = ["join"]
