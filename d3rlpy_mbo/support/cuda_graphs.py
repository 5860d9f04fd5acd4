"""Steps of fixed shape, recorded once as a CUDA graph and replayed.

Networks as small as an ensemble's keep a GPU waiting for Python: the kernels are a few
percent of a training step (ours: on an H200, benchmarks/speed/results/gpu.json).
"""

from collections.abc import Callable
from typing import Generic, Optional, TypeVar

import torch

__all__ = ["recorded", "recorded_halves"]

Step = Callable[[torch.Tensor], torch.Tensor]
Half = Callable[..., tuple[torch.Tensor, ...]]
Result = TypeVar("Result")

_WARM_UP = 3  # calls before recording, on another stream, as torch asks


def recorded(step: Step) -> Step:
    """Returns a step that does the same work, with one launch once it is recorded.

    The first calls run as they are, and so does every call with another shape (an
    epoch's last batch). What the step changes (parameters, gradients, an optimizer that
    is ``capturable``) must stay in the same memory.

    Args:
        step: Takes one tensor on a CUDA device, and returns one; never waits for the
            device, and draws random numbers only by torch on that device.
    """
    recording, usual = _Recording(step), list[torch.Size]()

    def replayed(given: torch.Tensor) -> torch.Tensor:
        if not usual:
            usual.append(given.shape)
        return recording(given).clone() if given.shape in usual else step(given)

    return replayed


def recorded_halves(first: Half, second: Half) -> tuple[Half, Half]:
    """Returns the halves of a step, each with one launch once it is recorded.

    Work that cannot be recorded may be done between them. The second may differentiate
    what the first computed; both must then drop all references to it, since autograd's
    nodes remember the stream of their first use.

    Args:
        first: As for `recorded`, but takes and returns tensors, always of the same shapes.
            Its next call overwrites what it returned.
        second: Likewise.
    """
    before = _Recording(first)
    return before, _Recording(second, before)


class _Recording(Generic[Result]):
    def __init__(
        self,
        work: Callable[..., Result],
        before: "Optional[_Recording[tuple[torch.Tensor, ...]]]" = None,
    ):
        self._work = work
        self._before = before
        self._n_calls = 0
        self._given: tuple[torch.Tensor, ...]
        self._result: Result
        self.graph: Optional[torch.cuda.CUDAGraph] = None

    def __call__(self, *given: torch.Tensor) -> Result:
        if self._n_calls < _WARM_UP:
            self._n_calls += 1
            return self._aside(given)
        if self.graph is None:
            self._record(given)
        assert self.graph is not None
        for kept, value in zip(self._given, given, strict=True):
            kept.copy_(value)
        self.graph.replay()
        return self._result

    def _record(self, given: tuple[torch.Tensor, ...]) -> None:
        """Records, and does nothing yet."""
        self._given = tuple(each.clone() for each in given)
        self.graph = torch.cuda.CUDAGraph()
        # What one half leaves for the other must not be given away between them.
        shared = self._before.graph if self._before else None
        pool = shared.pool() if shared else None
        with torch.cuda.graph(self.graph, pool=pool):
            self._result = self._work(*self._given)

    def _aside(self, given: tuple[torch.Tensor, ...]) -> Result:
        current = torch.cuda.current_stream(given[0].device)
        stream = torch.cuda.Stream(given[0].device)  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self._work(*given)
        current.wait_stream(stream)
        return result
