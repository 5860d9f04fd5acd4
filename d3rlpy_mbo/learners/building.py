"""Builds a learner's networks before its `fit` would."""

from d3rlpy.dataset import ReplayBufferBase

from .reading import AnyLearner

__all__ = ["build"]


def build(learner: AnyLearner, dataset: ReplayBufferBase) -> None:
    """Builds as `learner.build_with_dataset`, with a size of actions of Python's own.

    d3rlpy cannot save a learner that was built with one of NumPy's, and some datasets have
    such: `action_size=env.action_space.n`. A fit on the buffer is given an int by that.

    Args:
        learner: Any d3rlpy algorithm.
        dataset: Real data; one transition of it is drawn, for the shapes.
    """
    shapes = dataset.sample_transition().observation_signature.shape
    learner.create_impl(shapes[0], int(dataset.dataset_info.action_size))
