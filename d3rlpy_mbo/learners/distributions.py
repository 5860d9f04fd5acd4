"""d3rlpy's distributions without torch's look at their arguments."""

import contextlib
import threading
from collections.abc import Iterator

from torch.distributions import Distribution

__all__ = ["unvalidated"]


_lock = threading.Lock()
_n_within, _before = 0, True  # torch has one switch for all threads


@contextlib.contextmanager
def unvalidated() -> Iterator[None]:
    """Within it, distributions take NaN as they find it.

    torch looks at every mean and deviation, which waits for a GPU each time. Who samples
    within looks at what comes out instead. Of several threads the last one that leaves
    puts back what the first one found.
    """
    global _n_within, _before
    with _lock:
        if not _n_within:
            _before = Distribution._validate_args
            Distribution.set_default_validate_args(False)
        _n_within += 1
    try:
        yield
    finally:
        with _lock:
            _n_within -= 1
            if not _n_within:
                Distribution.set_default_validate_args(_before)
