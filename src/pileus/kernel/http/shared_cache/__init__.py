"""What processes of a cloud tell each other of tokens, over memcached. Why it is done so: docs/decisions/0008."""

from pileus.kernel.http.shared_cache.sealed import Entry
from pileus.kernel.http.shared_cache.tokens import SharedTokens, shared_tokens

__all__ = ["Entry", "SharedTokens", "shared_tokens"]
