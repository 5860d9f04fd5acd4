"""What the learner's policy gets in the simulator, against the learner's Q-values."""

import math
from typing import Optional

import torch

from ...learners.q_values import (
    counted_reward,
    entropy_reward,
    q_value,
    samples_actions,
)
from ...learners.reading import Learner, discount, predict_action, sample_action
from .results import MonteCarlo
from .simulators import Simulator
from .statistics import distribution
from .values import at_most_beyond

__all__ = ["monte_carlo"]

_STATES = 50  # of either kind (ours: a few seconds)
_STEPS = 1000  # at most
_UNSEEN = 0.05  # of the weight that an endless episode would give


@torch.no_grad()
def monte_carlo(
    learner: Learner,
    simulator: Simulator,
    real: torch.Tensor,
    ends: torch.Tensor,
    device: str,
    greatest_reward: float = 0.0,
) -> Optional[MonteCarlo]:
    """Follows the learner's policy from real states and from where rollouts end.

    The first actions are its best ones, of which it is asked; the later ones are those of
    the policy that its Q-values are of, which SAC samples.

    Args:
        learner: With a critic.
        simulator: The truth.
        real: (N, D) real states.
        ends: (M, D) where rollouts end, at least one.
        device: Where to ask the learner.
        greatest_reward: Of the data, as `counted_reward`; the simulator may pay more.

    Returns:
        None if a number is not finite.
    """
    gamma, n_steps = discount(learner), _STEPS
    if gamma < 1:
        n_steps = min(math.ceil(math.log(_UNSEEN) / math.log(max(gamma, 1e-9))), _STEPS)
    found = []
    for states in (real, ends):
        starts = states[torch.randperm(len(states))[:_STATES]].to(device)
        believed = q_value(learner, starts, predict_action(learner, starts)).cpu()
        gained, paid, cut = _returns(learner, simulator, starts, gamma, max(n_steps, 1))
        found.append((believed[:, 0].double(), gained))
    bonus = float(entropy_reward(learner, starts).mean())  # also where rollouts end
    unseen = 0.0  # of the last of these, where rollouts end
    if cut:
        best = max(greatest_reward, paid)
        unseen = cut * at_most_beyond(gamma, max(n_steps, 1), best)
    if not all(bool(torch.isfinite(each).all()) for pair in found for each in pair):
        return None
    (real_q, real_returns), (end_q, end_returns) = found
    return MonteCarlo(
        steps=max(n_steps, 1),
        real_q=distribution(real_q),
        real_returns=distribution(real_returns),
        real_excess=float((real_q - real_returns).mean()),
        end_q=distribution(end_q),
        end_returns=distribution(end_returns),
        end_excess=float((end_q - end_returns).mean()),
        unseen=unseen,
        entropy=at_most_beyond(gamma, 1, bonus),
    )


def _returns(
    learner: Learner,
    simulator: Simulator,
    states: torch.Tensor,
    gamma: float,
    n_steps: int,
) -> tuple[torch.Tensor, float, float]:
    """Follows all episodes side by side.

    Returns:
        (B,) discounted returns of the policy, the greatest reward on the way, and the
        share of the episodes that had not ended.
    """
    goes_on_with = sample_action if samples_actions(learner) else predict_action
    greatest = -math.inf
    returns = torch.zeros(len(states), dtype=torch.float64)
    alive = torch.arange(len(states))
    for step in range(n_steps):
        act = goes_on_with if step else predict_action
        taken = simulator.step(states, act(learner, states))
        rewards = counted_reward(learner, taken.rewards)
        returns[alive] += gamma**step * rewards[:, 0].double()
        greatest = max(greatest, float(rewards.max()))
        goes_on = taken.terminals[:, 0] == 0
        alive, states = alive[goes_on], taken.observations[goes_on].to(states)
        if not len(alive):
            break
    return returns, greatest, len(alive) / len(returns)
