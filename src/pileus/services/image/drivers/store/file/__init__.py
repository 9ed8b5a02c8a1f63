"""Images as files of one directory."""

from pileus.services.image.drivers.store.file.driver import FileStore, open_store

__all__ = ["FileStore", "open_store"]
