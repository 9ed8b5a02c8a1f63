"""The agent's memory across restarts: the newest desired state it accepted, in one file."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

State = TypeVar("State")
log = logging.getLogger(__name__)


class Journal(Generic[State]):
    """One struct in one JSON file, replaced whole. A broken file counts as none: the server knows everything."""

    def __init__(self, path: Path, state_type: type[State]) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(state_type)

    def read(self) -> State | None:
        try:
            return self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            log.warning("journal %s is not readable, starting without: %s", self._path, error)
            return None

    def write(self, state: State) -> None:
        """Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".new")
        with open(temporary, "wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)
