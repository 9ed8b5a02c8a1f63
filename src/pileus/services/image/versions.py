"""History of the Image API v2: only the minor versions whose own operations are offered here, newest last.

Missing on purpose: 2.2 (metadata definitions, tasks), 2.4 (locations), 2.6 (import), 2.10 (delete from one store),
2.11, 2.12 (tasks of an image), 2.14, 2.16 and 2.18 (cache), 2.17 (locations).
"""

from __future__ import annotations

from typing import Final

HISTORY: Final = (
    ("2.0", "Images, data, tags; update by JSON patch."),
    ("2.1", "Image members; the newer patch media type."),
    ("2.3", "Deactivate and reactivate."),
    ("2.5", "Community and shared visibility; shared is the default."),
    ("2.7", "Hidden images; secure hashes with their algorithm."),
    ("2.8", "Stores can be listed and chosen."),
    ("2.9", "No operations of its own."),
    ("2.13", "Quota usage."),
    ("2.15", "Details of stores."),
)
