"""What d3rlpy's MixedReplayBuffer would make of a buffer of imagined rows."""

import sys

from d3rlpy.dataset import MixedReplayBuffer

from ..support.errors import CompositionError

__all__ = ["refuse_mixing"]


def refuse_mixing() -> None:
    """Refuses what calls this if d3rlpy's MixedReplayBuffer is who called it.

    MixedReplayBuffer fills its batches with single transitions, and here these are real:
    learners read shapes from them before anything can imagine. Nothing else in its module
    asks a buffer that it was given, so the module tells who asks; any other caller may
    have single transitions.

    Raises:
        CompositionError: Says what to mix instead.
    """
    asks = sys._getframe(2).f_globals.get("__name__")
    if asks == MixedReplayBuffer.__module__:
        raise CompositionError(
            "MixedReplayBuffer fills its batches with single transitions or trajectories, "
            "not with those of its buffers; an ImaginedReplayBuffer's single transitions "
            "are real, so nothing would be imagined. Train offline first: "
            "algo.fit(buffer). Online, mix with the dataset that the buffer was made of: "
            "MixedReplayBuffer(online, dataset, ratio), both with "
            "transition_picker=dataset.transition_picker."
        )
