"""Learners that ask what follows a transition, and what their scalers make of it."""

import warnings
from typing import Any

import numpy as np

from ..data.real_data import RealData
from ..support.errors import CompositionError

__all__ = ["uses_returns", "validate_unknown_returns", "warn_of_cut_episodes"]

# Of rewards; with a few positive ones nobody knows what is missing behind a cut (ours).
_NEARLY_ALL = 0.9


def uses_returns(learner: Any) -> bool:
    """Returns whether a learner asks what follows a transition: Cal-QL does."""
    return bool(getattr(learner, "need_returns_to_go", False))


def validate_unknown_returns(learner: Any) -> None:
    """Refuses a reward scaler that turns an unknown return-to-go, -inf, into a number.

    Raises:
        CompositionError: Names the scaler.
    """
    scaler = learner.config.reward_scaler
    if scaler is None:
        return
    if scaler.built:
        with np.errstate(invalid="ignore"):
            shown = scaler.transform_numpy(np.full((1, 1), -np.inf, dtype=np.float32))
        kept = bool(np.isneginf(shown).all())
    else:  # it is fitted before the first batch, and judged again there
        kept = getattr(scaler, "multiplier", 1) > 0
    if not kept:
        raise CompositionError(
            f"The reward_scaler of {type(learner).__name__}, {type(scaler).__name__}, "
            "turns -inf, which stands for a return-to-go that is not known, into a "
            "number: rows that are imagined forwards lead to no real state. Use a scaler "
            "that shifts or scales by a positive factor, or an imagination with reverse "
            "dynamics."
        )


def warn_of_cut_episodes(learner: Any, real: RealData) -> None:
    """Warns where returns-to-go of the data are too high, as d3rlpy has them."""
    rows = real.transitions
    cut = float((rows.terminals[real.episode_starts[1:] - 1, 0] == 0).float().mean())
    negative = float((rows.rewards < 0).float().mean())
    if cut > 0.5 and negative > _NEARLY_ALL:
        warnings.warn(
            f"{cut:.0%} of the episodes were cut and {negative:.0%} of the rewards are "
            "negative: what a cut episode would still have cost is missing in its "
            f"returns-to-go, which {type(learner).__name__} trusts. They are too high, as "
            "with d3rlpy's own buffer, most of all where few steps remain.",
            stacklevel=3,
        )
