"""How large the things are that a piece of code makes, and how many it makes."""

import contextlib
import tracemalloc
from collections.abc import Iterator

import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Made(TorchDispatchMode):
    """Counts what torch is asked for inside, and keeps the bytes of all that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = self.largest = 0
        self.sizes = list[int]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        self.n_calls += 1
        for each in _pytree.tree_leaves(results):
            if isinstance(each, torch.Tensor) and not each._is_view():
                self.largest = max(self.largest, each.nbytes)
                self.sizes.append(each.nbytes)
        return results


@contextlib.contextmanager
def peak_of_numpy() -> Iterator[list[int]]:
    """Yields a list that gets the most bytes that Python and NumPy held more inside."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
