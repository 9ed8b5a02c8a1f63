"""Carrying a service's rows from one database to another: `rows` reads and writes them as the engines hold them,
`copying` makes two databases equal, `claim` keeps a move from touching what is not its own."""

from pileus.kernel.db.move.claim import NotEmpty, claim, is_claimed, release
from pileus.kernel.db.move.copying import Copying, NotEqual

__all__ = ["Copying", "NotEmpty", "NotEqual", "claim", "is_claimed", "release"]
