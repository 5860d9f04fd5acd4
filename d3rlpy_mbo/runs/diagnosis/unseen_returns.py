"""Episodes of returns that a model has not seen: the nearest to truth outside the data."""

import copy
from typing import Optional

import torch

from ...components.dynamics.interface import Dynamics
from ...components.penalties import LearnedPenalty
from ...components.terminations.interface import NoTermination
from ...data.real_data import RealData
from ...data.transitions import Transitions
from ...imagination.imagination import Imagination, ImaginationConfig
from ...learners.reading import Learner
from ...support.errors import DatasetError
from .penalties import penalty_ranks
from .predictions import Predicted, predicted, some_rows, with_known_rewards
from .results import UnseenReturns

__all__ = ["unseen_returns"]

_SHARE = 1 / 3  # of the rows that are left out (ours)


def unseen_returns(
    imagination: Imagination, real: RealData, learner: Optional[Learner]
) -> Optional[tuple[UnseenReturns, list[str]]]:
    """Fits a second model without the episodes of the greatest returns; judges it there.

    A penalty that learns is fitted anew on the same rows; the other parts that it may ask,
    such as a learned termination, are the imagination's. A known reward stands in the
    place of the predicted one.

    Args:
        imagination: Whose model's and penalty's configs are used; it is left as it is.
        real: What it was fitted on.
        learner: For penalties that ask it.

    Returns:
        With what had to be left out, and why; None if there is one episode only.

    Raises:
        DatasetError: Too little is left to fit the model on, or too little is left out to
            judge it on.
        DivergedError: The second model predicts nothing finite.
    """
    returns = real.episode_returns
    order = returns.argsort(descending=True, stable=True)
    lengths = real.episode_starts.diff()[order]
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
    penalty, not_fitted = imagination.penalty, []
    with torch.enable_grad():
        fresh.fit(seen)
        if isinstance(penalty, LearnedPenalty):
            name = penalty.config.get_type()
            try:
                penalty = _fitted_anew(penalty, fresh, seen)
            except Exception as error:  # a stranger's component
                penalty = None
                not_fitted.append(
                    f"the penalty {name} at returns left out: fitted without them, "
                    f"{type(error).__name__}: {error}"
                )
    judged = predicted(fresh, some_rows(known[is_out]))
    held_out = fresh.holdout_indices
    inside = predicted(fresh, seen[held_out] if len(held_out) else some_rows(seen))
    errors, errors_inside = (
        _errors(imagination, each, fresh) for each in (judged, inside)
    )
    known_reward = imagination.config.reward_function is not None
    sizes = errors.norm(dim=1)
    ranks, _ = penalty_ranks(judged, penalty, learner, sizes, known_reward)
    found = UnseenReturns(
        episodes=n_out,
        rows=len(judged.rows),
        least_return=float(returns[left_out].min()),
        greatest_seen=float(returns[~left_out].max()),
        errors=_by_column(errors),
        errors_inside=_by_column(errors_inside),
        penalties=ranks,
    )
    return found, not_fitted


def _fitted_anew(
    penalty: LearnedPenalty, dynamics: Dynamics, rows: Transitions
) -> LearnedPenalty:
    fresh = copy.deepcopy(penalty.config).create(penalty.device)
    if penalty.context is not None:
        fresh.attach(penalty.context)
    fresh.fit(dynamics, rows)
    return fresh


def _errors(
    imagination: Imagination, judged: Predicted, dynamics: Dynamics
) -> torch.Tensor:
    """Returns (B, D + 1), of the mean of those that imagine."""
    means, known = judged.elite_means, imagination.config.reward_function
    if known is not None:
        means = with_known_rewards(judged, known, dynamics)
    return means.mean(dim=0) - judged.targets


def _by_column(errors: torch.Tensor) -> list[float]:
    found: list[float] = errors.square().mean(dim=0).sqrt().tolist()
    return found
