"""Builds a learner's networks before its `fit` would, and so that it can be saved."""

import copy
import dataclasses
from typing import Any, cast

import numpy as np
from d3rlpy.dataset import ReplayBufferBase
from d3rlpy.ope import FQE, DiscreteFQE

from .reading import AnyLearner

__all__ = ["build", "made_again", "take_plain_numbers"]


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


def made_again(learner: AnyLearner) -> AnyLearner:
    """Returns a learner of an equal config, without networks."""
    config, device = copy.deepcopy(learner.config), learner._device
    if isinstance(learner, FQE | DiscreteFQE):  # which a config alone cannot create
        return type(learner)(learner.algo, config, device)
    return cast(AnyLearner, config.create(device=device))


def take_plain_numbers(learner: AnyLearner) -> None:
    """Puts Python's numbers in the place of NumPy's in a learner's config.

    d3rlpy writes a config as JSON when a fit begins and when a learner is saved, and JSON
    has no ``np.float32``: a sweep over ``np.linspace(..., dtype=np.float32)`` or
    ``2 ** np.arange(9)`` would end in a TypeError once the models were fitted.

    Args:
        learner: Any d3rlpy algorithm; its config is changed, the values are equal.
    """
    _plain(learner.config)


def _plain(value: Any) -> Any:
    """Returns the value itself if nothing in it is NumPy's; configs are changed."""
    if isinstance(value, np.generic) and not isinstance(value, float):
        return value.item()
    if isinstance(value, list | tuple):
        plain = [_plain(each) for each in value]
        alike = all(a is b for a, b in zip(plain, value, strict=True))
        return value if alike else type(value)(plain)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            found = getattr(value, field.name)
            taken = _plain(found)
            if taken is not found:
                setattr(value, field.name, taken)
    return value
