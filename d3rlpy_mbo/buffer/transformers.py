"""Whether a transformer can train on an imagination's trajectories."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from d3rlpy.dataset import BasicTrajectorySlicer

from ..data.real_data import RealData
from ..imagination.imagination import Imagination
from ..support.errors import CompositionError, DatasetError

__all__ = [
    "validate_lead_ins",
    "validate_slicer",
    "validate_transformer",
    "validate_with_transformer",
    "warn_of_padding",
]


def validate_lead_ins(
    imaginations: Sequence[Imagination], shares: npt.NDArray[Any]
) -> None:
    """Refuses imaginations whose rows do not lead into real trajectories.

    Args:
        imaginations: Those of a buffer.
        shares: Of the real trajectories, then of each imagination.

    Raises:
        CompositionError: One with a share imagines forwards.
    """
    for each, share in zip(imaginations, shares[1:], strict=True):
        if share > 0 and each.dynamics.direction == "forward":
            raise CompositionError(
                f"The imagination {each.config.get_type()!r} imagines forwards, so its "
                "rollouts lead to no real state and nobody knows their returns-to-go, "
                "which are what a transformer is trained with. Nearest: the same "
                'composition with dynamics of direction "reverse", as ROMI\'s.'
            )


def validate_slicer(real: RealData) -> None:
    """Refuses a dataset with a trajectory slicer of its own: it would not be used.

    Raises:
        DatasetError: Names it.
    """
    slicer = type(real.dataset.trajectory_slicer)
    if slicer is not BasicTrajectorySlicer:
        raise DatasetError(
            f"Datasets with {slicer.__name__} are not supported for trajectories: these "
            "are sliced by columns, as BasicTrajectorySlicer does, so yours would not be "
            "used. Build the ReplayBuffer without a trajectory_slicer."
        )


def validate_transformer(
    learner: Any,
    real: RealData,
    imaginations: Sequence[Imagination],
    shares: npt.NDArray[Any],
) -> None:
    """Refuses what a transformer cannot train on.

    Args:
        learner: The transformer.
        real: Real data.
        imaginations: Those of a buffer.
        shares: Of the real trajectories, then of each imagination.

    Raises:
        CompositionError: An imagination that imagines forwards, or asks the learner; or
            episodes of more steps than the learner has timesteps.
        DatasetError: A trajectory slicer that would not be asked.
    """
    validate_slicer(real)
    validate_with_transformer(learner, imaginations, shares)
    name, config = type(learner).__name__, learner.config
    longest = real.rewards.longest
    if longest > config.max_timestep:
        raise CompositionError(
            f"The longest episode has {longest} steps, but max_timestep of {name} is "
            f"{config.max_timestep}: it knows no later ones. Set max_timestep={longest} or "
            "more."
        )


def validate_with_transformer(
    learner: Any, imaginations: Sequence[Imagination], shares: npt.NDArray[Any]
) -> None:
    """Refuses imaginations that no transformer can train with, whatever the data.

    Args:
        learner: The transformer.
        imaginations: Those of a buffer, fitted or not.
        shares: Of the real trajectories, then of each imagination.

    Raises:
        CompositionError: One imagines forwards, or asks the learner.
    """
    validate_lead_ins(imaginations, shares)
    for each in imaginations:
        if each.needs_learner:
            raise CompositionError(
                f"The imagination {each.config.get_type()!r} asks the learner for actions "
                f"or values at single states, but {type(learner).__name__} acts from a "
                "whole context and has no values. Leave out what asks it (a dynamics "
                "updater, a penalty on values), or use a Q-learning algorithm (SAC, CQL, "
                "IQL, BCQ, ...)."
            )


def warn_of_padding(learner: Any, real: RealData) -> None:
    """Warns of a transformer's context that no episode of the data fills."""
    longest, context_size = real.rewards.longest, learner.config.context_size
    if longest < context_size:
        warnings.warn(
            f"The longest episode has {longest} steps, but context_size of "
            f"{type(learner).__name__} is {context_size}: the first "
            f"{context_size - longest} places are padding in every trajectory. A smaller "
            "context_size trains the same, faster.",
            stacklevel=3,
        )
