"""Tokens as Fernet messages: nothing stored, keys rotated."""

from pileus.services.identity.drivers.tokens.fernet.keys import KeyRing, WrongWrapping
from pileus.services.identity.drivers.tokens.fernet.sealer import FernetSealer

__all__ = ["FernetSealer", "KeyRing", "WrongWrapping"]
