"""Builds a learner's networks before its `fit` would."""

from d3rlpy.dataset import ReplayBufferBase

from .reading import AnyLearner

__all__ = ["build"]


def build(learner: AnyLearner, dataset: ReplayBufferBase) -> None:
    """Builds as `learner.build_with_dataset` does, with Python's int as size of actions.

    d3rlpy cannot save a learner that was built with NumPy's, which some datasets have:
    `action_size=env.action_space.n`. A fit on the buffer gets an int from the buffer.

    Args:
        learner: Any d3rlpy algorithm.
        dataset: Real data; one transition of it is drawn, for the shapes.
    """
    shapes = dataset.sample_transition().observation_signature.shape
    learner.create_impl(shapes[0], int(dataset.dataset_info.action_size))
