"""Several imagined steps in one row: rewards discounted and summed, values from afar."""

import dataclasses
import math
from typing import Any, NamedTuple, Optional

import torch

from .. import learners
from ..data.transitions import Transitions
from ..learners.returns import uses_returns
from ..support.errors import CompositionError

__all__ = ["Folded", "fold", "validate_folding", "validate_reader"]

# Where a scaler that clips shows it.
_FAR = 1e9


class Folded(NamedTuple):
    """Rows of several steps.

    Attributes:
        transitions: (B,) rows, of which each begins where the row given began.
        intervals: (B,) float32 steps in a row.
    """

    transitions: Transitions
    intervals: torch.Tensor


def validate_folding(
    learner: Optional[Any], n_steps: int, epsilon: float = 0.0
) -> None:
    """Refuses learners for which rows of several steps are not what they seem.

    Args:
        learner: Any d3rlpy algorithm.
        n_steps: In a row.
        epsilon: Share of the rollouts' actions that are not its own where it acts greedily.

    Raises:
        CompositionError: There is none, it needs single steps, its reward scaler is
            fitted and does more than shift and scale, or actions are not its own.
    """
    if n_steps == 1:
        return
    name = type(learner).__name__
    if learner is None:
        raise CompositionError(
            f"steps_per_row is {n_steps}, so rewards are discounted by the learner's "
            "gamma, but there is no learner. Pass learner=algo."
        )
    if learners.is_transformer(learner) or uses_returns(learner):
        raise CompositionError(
            f"steps_per_row is {n_steps}, but {name} needs every step on the way: to "
            "train on, or to compare with returns-to-go. Set steps_per_row=1, or use "
            "another algorithm (SAC, CQL, IQL, BCQ, ...)."
        )
    if epsilon and learners.acts_greedily(learner):
        raise CompositionError(
            f"steps_per_row is {n_steps}, but a share of {epsilon:g} of the actions is "
            f"uniform: {name} would take their rewards for those of its own actions. Set "
            "rollout_policy=LearnerPolicyConfig(epsilon=0.0), or steps_per_row=1."
        )
    scaler = learner.config.reward_scaler
    if scaler is not None and scaler.built:
        _line(scaler, name)


def validate_reader(learner: Any, reader: Any) -> None:
    """Refuses a second reader to which the rewards of folded rows would mean others.

    Args:
        learner: For which they were folded, by its gamma and its reward scaler's shift.
        reader: Draws them too: FQE.

    Raises:
        CompositionError: The reader discounts or shifts rewards otherwise, or its scaler
            does more than shift and scale.
    """
    (gamma, shift), (discount, moved) = map(_discount_and_shift, (learner, reader))
    if discount == gamma and math.isclose(moved, shift, rel_tol=1e-6, abs_tol=1e-9):
        return
    raise CompositionError(
        f"Imagined rows hold several steps, with rewards folded for {_name(learner)}: "
        f"gamma {gamma:g}, and {shift:g} added to each by its reward_scaler. "
        f"{_name(reader)} has gamma {discount:g} and adds {moved:g}. Give it the same "
        "gamma and reward_scaler, or the dataset instead of the buffer."
    )


def _discount_and_shift(reader: Any) -> tuple[float, float]:
    """Returns gamma, and what a reward scaler adds, in units of the dataset's rewards."""
    scaler = reader.config.reward_scaler
    shift, scale = (0.0, 1.0) if scaler is None else _line(scaler, _name(reader))
    return learners.discount(reader), shift / scale


def _name(reader: Any) -> str:
    return type(reader).__name__


def fold(rows: Transitions, n_steps: int, learner: Any) -> Folded:
    """Returns rows of up to n steps: from s_t and a_t to s_{t+n}.

    Each row goes on through those behind it, until a terminal or its rollout's end. Its
    reward is the one that the learner's scaler f turns into sum_i gamma^i f(r_{t+i}): a
    scaler that shifts would shift the sum only once, but should shift each of its parts
    (d3rlpy's own multi-step picker leaves it so).

    Args:
        rows: (B,) imagined forwards, those of a rollout as neighbours, in time order.
        n_steps: k, in a row at most.
        learner: Whose gamma discounts.

    Raises:
        CompositionError: The learner's reward scaler does more than shift and scale, or
            is not fitted.
    """
    assert rows.rollout_ids is not None
    gamma, scaler = learners.discount(learner), learner.config.reward_scaler
    shift, scale = (
        (0.0, 1.0) if scaler is None else _line(scaler, type(learner).__name__)
    )
    own = torch.arange(len(rows), device=rows.rewards.device)
    last, intervals = own.clone(), torch.ones_like(rows.rewards[:, 0])
    rewards, discounts = rows.rewards.clone(), torch.ones_like(rows.rewards)
    goes_on = rows.terminals[:, 0] == 0
    for step in range(1, n_steps):
        behind = (own + step).clamp(max=len(rows) - 1)
        same = rows.rollout_ids[behind] == rows.rollout_ids
        goes_on = goes_on & same & (own + step < len(rows))
        weight = gamma**step * goes_on[:, None].float()
        rewards = rewards + weight * rows.rewards[behind]
        discounts = discounts + weight
        last = torch.where(goes_on, behind, last)
        intervals = intervals + goes_on
        goes_on = goes_on & (rows.terminals[behind, 0] == 0)
    folded = dataclasses.replace(
        rows,
        rewards=rewards + (shift / scale) * (discounts - 1),
        next_observations=rows.next_observations[last],
        next_actions=rows.next_actions[last],
        terminals=rows.terminals[last],
    )
    return Folded(folded, intervals)


def _line(scaler: Any, learner: str) -> tuple[float, float]:
    """Returns a and b of a scaler that makes a + b r of rewards.

    Raises:
        CompositionError: It is not fitted, or makes something else of them.
    """
    if not scaler.built:
        raise CompositionError(
            f"The reward_scaler of {learner}, {type(scaler).__name__}, is not fitted yet, "
            "so steps cannot be folded into rows. Start learner.fit."
        )
    asked = torch.tensor([0.0, 1.0, -_FAR, _FAR], dtype=torch.float64)
    shift, one, low, high = map(float, scaler.transform(asked))
    scale = one - shift
    nearby, across = torch.tensor(scale), torch.tensor((high - low) / (2 * _FAR))
    if scale == 0 or not torch.isclose(nearby, across, rtol=1e-3, atol=0.0):
        raise CompositionError(
            f"The reward_scaler of {learner}, {type(scaler).__name__}, does more than "
            "shift and scale rewards, so a scaled sum is not the sum of the scaled "
            "rewards. Use another scaler, or steps_per_row=1."
        )
    return shift, scale
