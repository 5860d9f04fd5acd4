"""Episodes of returns that a model has not seen: the nearest to truth outside the data."""

import copy
from typing import Optional

import torch

from ...components.terminations.interface import NoTermination
from ...data.real_data import RealData
from ...imagination.imagination import Imagination, ImaginationConfig
from ...learners.reading import Learner
from ...support.errors import DatasetError
from .penalties import penalty_ranks
from .predictions import Predicted, predicted, some_rows
from .results import UnseenReturns

__all__ = ["unseen_returns"]

_SHARE = 1 / 3  # of the rows that are left out (ours)


def unseen_returns(
    imagination: Imagination, real: RealData, learner: Optional[Learner]
) -> Optional[UnseenReturns]:
    """Fits a second model without the episodes of the greatest returns; judges it there.

    Args:
        imagination: Whose model's config is used; it is left as it is.
        real: What it was fitted on.
        learner: For penalties that ask it.

    Returns:
        None if there is one episode only.

    Raises:
        DatasetError: Too little is left to fit the model on, or too little is left out to
            judge it on.
        DivergedError: The second model predicts nothing finite.
    """
    rewards, starts = real.transitions.rewards[:, 0].double(), real.episode_starts
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), rewards.cumsum(dim=0)])
    returns = sums[starts].diff()
    order = returns.argsort(descending=True, stable=True)
    lengths = starts.diff()[order]
    before = lengths.cumsum(dim=0) - lengths
    n_out = min(int((before < _SHARE * len(real)).sum()), len(order) - 1)
    if n_out < 1:
        return None
    left_out = torch.zeros(len(order), dtype=torch.bool)
    left_out[order[:n_out]] = True
    known = real.for_models
    assert known.episode_ids is not None
    is_out = left_out[known.episode_ids.long()]
    if not bool(is_out.any()):
        raise DatasetError(
            f"The {n_out} episodes of the greatest returns have no row with a known next "
            "observation, so nothing can be judged there."
        )

    # A model is fitted on single steps and ends nothing.
    model = copy.deepcopy(imagination.config.dynamics)
    config = ImaginationConfig(dynamics=model, termination=NoTermination())
    fresh = config.create(imagination.device).dynamics
    seen = known[~is_out]
    with torch.enable_grad():
        fresh.fit(seen)
    judged = predicted(fresh, some_rows(known[is_out]))
    held_out = fresh.holdout_indices
    inside = predicted(fresh, seen[held_out] if len(held_out) else some_rows(seen))
    ranks, _ = penalty_ranks(judged, imagination.penalty, learner)
    return UnseenReturns(
        episodes=n_out,
        rows=len(judged.rows),
        least_return=float(returns[left_out].min()),
        greatest_seen=float(returns[~left_out].max()),
        errors=_errors(judged),
        errors_inside=_errors(inside),
        penalties=ranks,
    )


def _errors(judged: Predicted) -> list[float]:
    """Returns root mean squares by column, of the mean of those that imagine."""
    errors = judged.elite_means.mean(dim=0) - judged.targets
    found: list[float] = errors.square().mean(dim=0).sqrt().tolist()
    return found
