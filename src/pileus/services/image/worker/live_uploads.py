"""The uploads that run in this very process."""

from __future__ import annotations

import os


class LiveUploads:
    """`process` is written to the database beside each upload, `keys` are the store keys that are being written."""

    def __init__(self, host: str, nonce: str) -> None:
        self.process = f"{host}:{os.getpid()}:{nonce}"
        self.keys: set[str] = set()
