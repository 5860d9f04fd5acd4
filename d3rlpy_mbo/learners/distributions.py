"""d3rlpy's distributions without torch's look at their arguments."""

import contextlib
from collections.abc import Iterator

from torch.distributions import Distribution

__all__ = ["unvalidated"]


@contextlib.contextmanager
def unvalidated() -> Iterator[None]:
    """Within it, distributions take NaN as they find it.

    torch looks at every mean and deviation, which waits for a GPU each time. Who samples
    within looks at what comes out instead.
    """
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
