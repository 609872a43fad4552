"""What each runner of torch.compile would do for itself: the server imports this before it forks.

With Triton installed PyTorch's compiler hashes all of its files, for more than a
second, to know whose cached code it may use.
"""

from __future__ import annotations

from contextlib import suppress

from torch._inductor import codecache

with suppress(AttributeError):  # a private name
    codecache.CacheBase.get_system()
