"""Random numbers for a diagnosis alone."""

import contextlib
import random
import threading
from collections.abc import Iterator

import numpy as np
import torch

from ...support.generators import generators_kept

__all__ = ["own_generators"]


_alone = threading.RLock()


@contextlib.contextmanager
def own_generators(seed: int) -> Iterator[None]:
    """Seeds Python's, NumPy's and torch's generators; puts them back as they were.

    Not by `d3rlpy.seed`, which also changes for good how cuDNN computes. All threads
    draw from the same generators, so a second diagnosis waits for the first.

    Args:
        seed: From 0 to 2^32 - 1.
    """
    with _alone, generators_kept():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
