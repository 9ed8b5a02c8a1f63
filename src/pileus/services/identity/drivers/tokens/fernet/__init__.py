"""Tokens as Fernet messages: nothing stored, keys rotated."""

from pileus.services.identity.drivers.tokens.fernet.keys import KeyRepository
from pileus.services.identity.drivers.tokens.fernet.sealer import FernetSealer

__all__ = ["FernetSealer", "KeyRepository"]
