"""A d3rlpy mini-batch that says which of its rows are imagined."""

import dataclasses

import numpy as np
import numpy.typing as npt
from d3rlpy.dataset import TransitionMiniBatch

__all__ = ["ImaginedMiniBatch"]


@dataclasses.dataclass(frozen=True)
class ImaginedMiniBatch(TransitionMiniBatch):
    """What `ImaginedReplayBuffer` draws: d3rlpy's mini-batch with one column more.

    d3rlpy hands it to a learner's Impl as ``batch.numpy_batch``, so that a loss can tell
    real rows from imagined ones. Not with ``compile_graph`` on a GPU: later batches'
    tensors are copied into the captured graph, but ``numpy_batch`` stays the captured
    one.

    Args:
        imagined: (B, 1) bool, True where the row was imagined.
    """

    imagined: npt.NDArray[np.bool_]
