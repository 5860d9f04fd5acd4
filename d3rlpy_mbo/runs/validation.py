"""Whether learner, data and imaginations fit, before hours go into the models."""

import warnings
from collections.abc import Sequence
from typing import Any, Optional

import numpy.typing as npt

from .. import learners
from ..buffer.fill import Fill, validate_fills
from ..buffer.processes import validate_processes
from ..buffer.shares import batch_shares
from ..buffer.source import validate_rows
from ..buffer.transformers import validate_transformer, validate_with_transformer
from ..data.real_data import RealData
from ..imagination.imagination import Imagination
from ..learners.building import build, made_again
from ..learners.reading import (
    AnyLearner,
    validate_real_ratio,
)
from ..learners.returns import uses_returns, validate_unknown_returns
from ..learners.scalers import validate_scalers, warn_beyond_range
from ..registry.fields import COUNT, Number
from ..support.errors import CompositionError, D3RLPyMBOError
from ..support.generators import generators_kept
from .environments import validate_environment

__all__ = ["build_for_critics", "validate_parts", "validate_together"]

# Of a learner's config: d3rlpy takes any number for them, and asks for a batch only once
# the models are fitted. gamma = 99 for .99 makes values that grow until they are NaN.
_NUMBERS = {
    "batch_size": COUNT,
    "gamma": Number(at_least=0, at_most=1),
    "tau": Number(at_least=0, at_most=1),  # of the target networks
}


def validate_parts(
    learner: AnyLearner,
    real: RealData,
    imaginations: Sequence[Imagination],
    real_ratio: Optional[float] = None,
    shares: Optional[Sequence[float]] = None,
    env: Any = None,
) -> None:
    """Refuses what `fit` cannot train on this data.

    Args, Raises: as `fit`.
    """
    learners.check(learner)
    for name, kind in _NUMBERS.items():
        if hasattr(learner.config, name):
            whose = f"{type(learner.config).__name__}.{name}"
            kind.validated(whose, getattr(learner.config, name))
    learners.check_actions(learner, real.transitions.n_actions)
    validate_processes(imaginations, learner)
    every_share = batch_shares(imaginations, real_ratio, shares)
    real.validate_for_learners()
    for each in imaginations:
        if each.fitted:
            each.check_ready(real.transitions)
        else:
            each.check_fittable(real.transitions)
        real.start_rows(each.dynamics.direction)
    validate_fills([Fill.of(each, real, learner) for each in imaginations])
    validate_together(learner, imaginations, every_share)
    _warn_of_unused(imaginations, every_share[1:])
    if learners.is_transformer(learner):
        validate_transformer(learner, real, imaginations, every_share)
    if env is not None:
        validate_environment(env, real)
    validate_scalers(learner, real)
    if learners.is_built(learner):
        _validate_sizes(learner, real, critic=_needs_critic(imaginations))
    else:
        _validate_buildable(learner, real, critic=_needs_critic(imaginations))
    warn_beyond_range(learner, real)


def validate_together(
    learner: AnyLearner,
    imaginations: Sequence[Imagination],
    every_share: npt.NDArray[Any],
) -> None:
    """Refuses a learner that cannot train with imaginations, whatever the data.

    Args:
        learner: Any d3rlpy algorithm.
        imaginations: Fitted or not.
        every_share: Of the real rows, then of each imagination.

    Raises:
        CompositionError: Says what does not go together.
    """
    validate_real_ratio(learner, float(every_share[0]))
    for each in imaginations:
        validate_rows(each, learner)
    if learners.is_transformer(learner):
        validate_with_transformer(learner, imaginations, every_share)
    if uses_returns(learner):
        for each, share in zip(imaginations, every_share[1:], strict=True):
            if share > 0 and each.dynamics.direction == "forward":
                validate_unknown_returns(learner)


def _warn_of_unused(
    imaginations: Sequence[Imagination], shares: npt.NDArray[Any]
) -> None:
    """Tells of models that would be fitted for hours, and of which no batch holds a row."""
    for each, share in zip(imaginations, shares, strict=True):
        if share == 0 and not each.fitted:
            warnings.warn(
                f"The imagination {each.config.get_type()!r} has none of the rows of the "
                "learner's batches (real_ratio is 1, or its share is 0), and its models "
                "are fitted all the same. Leave it out, or lower real_ratio.",
                stacklevel=4,
            )


def build_for_critics(
    learner: AnyLearner, real: RealData, imaginations: Sequence[Imagination]
) -> None:
    """Builds a learner whose critic an imagination will ask: not all of them have one.

    Raises:
        CompositionError: It has no critic.
    """
    if _needs_critic(imaginations) and not learners.is_built(learner):
        build(learner, real.dataset)
        _validate_sizes(learner, real, critic=True)


def _needs_critic(imaginations: Sequence[Imagination]) -> bool:
    return any(each.needs_critic for each in imaginations)


def _validate_sizes(learner: AnyLearner, real: RealData, critic: bool) -> None:
    rows = real.transitions
    learners.check_built(
        learner, rows.observation_size, rows.action_size, critic, rows.n_actions
    )


def _validate_buildable(learner: AnyLearner, real: RealData, critic: bool) -> None:
    """Builds a copy: d3rlpy refuses some settings only then, after the models' hours.

    The learner itself is left to be built where its run begins: that draws.
    """
    name = type(learner).__name__
    with generators_kept():
        try:
            trial = made_again(learner)
            build(trial, real.dataset)
            if not learners.is_built(trial):
                raise CompositionError(
                    f"{name} has no networks, so there is nothing to train: it is for "
                    "collecting data. As a baseline, evaluate it as it is."
                )
            if critic:
                _validate_sizes(trial, real, critic)
        except D3RLPyMBOError:
            raise
        except Exception as error:
            raise CompositionError(
                f"{name} cannot be built on this dataset: {type(error).__name__}: "
                f"{error}. Its config is wrong, or does not fit the data."
            ) from error
