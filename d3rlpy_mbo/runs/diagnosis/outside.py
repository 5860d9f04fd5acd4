"""The model where no data is, against the simulator."""

import dataclasses
from typing import Optional, Union

import torch

from ...components.dynamics.interface import Dynamics
from ...components.penalties import LearnedPenalty, Penalty
from ...data.real_data import RealData
from ...data.transitions import Transitions
from ...learners.reading import Learner
from ...support.errors import DivergedError
from .penalties import penalty_ranks
from .predictions import Predicted, predicted
from .results import Outside
from .simulators import Simulator

__all__ = ["outside"]

_ROWS = 1000  # steps of a simulator, at a tenth of a millisecond or so (ours)


@torch.no_grad()
def outside(
    dynamics: Dynamics,
    real: RealData,
    simulator: Simulator,
    own: Union[Penalty, LearnedPenalty, None],
    learner: Optional[Learner],
) -> Optional[Outside]:
    """Asks the model about real states with random actions of the action set.

    A reverse model's s is led forward again: what it says of (s', a) is right if a leads
    from there to s'.

    Args:
        dynamics: Fitted.
        real: The data.
        simulator: The truth.
        own: The imagination's penalty.
        learner: For penalties that ask it.

    Returns:
        None if the model predicts nothing finite there, or the simulator says nothing
        finite.
    """
    rows = real.for_models
    rows = rows[torch.randperm(len(rows))[:_ROWS]]
    try:
        _, errors_inside = _judged(dynamics, rows, simulator)
        random = dataclasses.replace(rows, actions=real.action_set.sample(len(rows)))
        judged, errors = _judged(dynamics, random, simulator)
    except DivergedError:
        return None
    if not bool(torch.isfinite(errors).all() & torch.isfinite(errors_inside).all()):
        return None
    # The errors are those of observations: of the reward the null has none either.
    sizes = errors.norm(dim=1)
    ranks, _ = penalty_ranks(judged, own, learner, sizes, known_reward=True)
    return Outside(
        rows=len(judged.rows),
        errors=_by_column(errors),
        errors_inside=_by_column(errors_inside),
        penalties=ranks,
    )


def _judged(
    dynamics: Dynamics, rows: Transitions, simulator: Simulator
) -> tuple[Predicted, torch.Tensor]:
    """Returns what the model says, and its errors (B, D): means of those that imagine."""
    judged = predicted(dynamics, rows)
    said = judged.elite_means.mean(dim=0)[:, :-1]
    actions = judged.rows.actions
    if dynamics.direction == "forward":
        return judged, said - simulator.step(judged.given, actions).observations
    return judged, simulator.step(said, actions).observations - judged.given


def _by_column(errors: torch.Tensor) -> list[float]:
    found: list[float] = errors.double().square().mean(dim=0).sqrt().tolist()
    return found
