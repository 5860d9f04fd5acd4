"""The learner's Q-values against real returns."""

import math
from typing import Optional

import torch

from ...data.real_data import RealData
from ...data.transitions import Transitions
from ...learners.q_values import counted_reward, entropy_reward, q_value
from ...learners.reading import Learner, discount, predict_action
from .predictions import some_rows
from .results import Distribution, Values
from .rollouts import Imagined
from .statistics import distribution

__all__ = ["at_most_beyond", "returns_to_go", "rollout_ends", "values"]

# A row that was cut counts if what it did not see weighs no more than this (ours).
_UNSEEN = 0.05


def values(
    learner: Learner,
    real: RealData,
    imagined: Imagined,
    reverse: bool,
    device: str,
) -> Optional[Values]:
    """Asks a learner that has a critic.

    Args:
        learner: Built.
        real: The data.
        imagined: Imagined rows.
        reverse: Whether they lead backwards.
        device: Where to ask it.

    Returns:
        None if a value is not finite.

    Raises:
        CompositionError: The learner has no critic.
    """
    rows = real.transitions
    ends = rollout_ends(imagined, reverse)
    gamma = discount(learner)
    rewards = counted_reward(learner, rows.rewards)
    returns, seen = returns_to_go(real, rewards, gamma)
    cut = _steps_left(real)[seen & ~_terminated(real)]
    best = float(rewards.max())

    def of(observations: torch.Tensor, actions: torch.Tensor) -> Distribution:
        asked = observations.to(device), actions.to(device)
        return distribution(q_value(learner, *asked).cpu())

    def sample(of_rows: Transitions) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = some_rows(of_rows)
        return drawn.observations, drawn.actions

    at_end: Optional[Distribution] = None
    if len(ends):
        ends = some_rows(ends).to(device)
        at_end = of(ends, predict_action(learner, ends))
    real_rows = sample(rows)
    at_real, at_imagined = of(*real_rows), of(*sample(imagined.rows))
    bonus = float(entropy_reward(learner, real_rows[0].to(device)).mean())
    means = [each.mean for each in (at_real, at_imagined, at_end) if each is not None]
    if not all(map(math.isfinite, means)):
        return None
    return Values(
        real=at_real,
        imagined=at_imagined,
        rollout_ends=at_end,
        returns=distribution(returns[seen]) if bool(seen.any()) else None,
        returns_rows=int(seen.sum()),
        unseen=at_most_beyond(gamma, int(cut.min()), best) if len(cut) else 0.0,
        entropy=at_most_beyond(gamma, 1, bonus),
        reward_scaler=None
        if torch.allclose(rewards, rows.rewards)
        else type(learner.config.reward_scaler).__name__,
    )


def at_most_beyond(gamma: float, n_steps: int, greatest_reward: float) -> float:
    """Returns what may follow so many steps: the greatest reward for ever, or nothing."""
    if greatest_reward <= 0:
        return 0.0
    return gamma**n_steps * greatest_reward / (1 - gamma) if gamma < 1 else math.inf


def rollout_ends(imagined: Imagined, reverse: bool) -> torch.Tensor:
    """Returns (M, D) the states where rollouts end; in reverse where they begin in time.

    Not those after a terminal: no value follows there.
    """
    at_ends = imagined.rows[imagined.is_end]
    if reverse:
        return at_ends.observations
    return at_ends.next_observations[at_ends.terminals[:, 0] == 0]


def returns_to_go(
    real: RealData, rewards: torch.Tensor, gamma: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (N,) discounted sums of (N, 1) rewards from each row to its episode's end.

    Also (N,) bool: whether all of them are known, or all but 5 % of the weight that an
    endless episode would give. So near a time limit rows count only of episodes that ended
    before it, and a mean or a quantile of these returns leans to what ended. That is left
    as it is: data do not say when an episode that ended would have been cut; and the rows
    just before a goal, late as they may be, have the greatest return, which a verdict
    compares Q with.
    """
    left = _steps_left(real)
    returns = rewards[:, 0].double().clone()
    # Each row has the sum of so many steps, and takes that of as many behind them: 20
    # passes for an episode of a million steps.
    n_steps, weight = 1, gamma
    while n_steps < int(left.max()):
        rows = torch.nonzero(left > n_steps)[:, 0]
        returns[rows] += weight * returns[rows + n_steps]
        n_steps, weight = 2 * n_steps, weight * weight
    needed = math.log(_UNSEEN) / math.log(gamma) if 0 < gamma < 1 else math.inf
    seen = _terminated(real) | (left >= needed)
    return returns, seen | (gamma == 0)


def _steps_left(real: RealData) -> torch.Tensor:
    """Returns (N,) how many rows there are from each to its episode's end, itself too."""
    starts = real.episode_starts
    ends = starts[1:].repeat_interleave(starts.diff())
    return ends - torch.arange(len(ends))


def _terminated(real: RealData) -> torch.Tensor:
    """Returns (N,) bool: whether the row's episode ended in a terminal."""
    starts = real.episode_starts
    terminated = real.transitions.terminals[starts[1:] - 1, 0] > 0
    return terminated.repeat_interleave(starts.diff())
