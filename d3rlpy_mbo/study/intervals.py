"""Interquartile means and bootstrap intervals, by rliable (Agarwal et al. 2021)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

# Below, a bootstrap of the seeds says more about the seeds than about the method.
LEAST_SEEDS = 5
_N_RESAMPLES = 10_000


def interquartile_mean(scores: npt.ArrayLike) -> tuple[float, float, float]:
    """Returns the interquartile mean and the ends of its 95 % interval.

    Args:
        scores: With shape (seeds, tasks); seeds are drawn anew for each task.
    """
    from rliable import metrics

    return _estimate(scores, metrics.aggregate_iqm)


def mean(scores: npt.ArrayLike) -> tuple[float, float, float]:
    """Returns the mean and the ends of its 95 % interval, likewise."""
    from rliable import metrics

    return _estimate(scores, metrics.aggregate_mean)


def _estimate(
    scores: npt.ArrayLike, statistic: Callable[[Any], float]
) -> tuple[float, float, float]:
    # Slow to import, and needed only where there are seeds enough.
    from rliable import library

    # rliable 1.2 draws from numpy's global generator, whatever random_state it is given.
    state = np.random.get_state()
    np.random.seed(0)
    try:
        points, intervals = library.get_interval_estimates(
            {"all": np.asarray(scores, dtype=float)},
            lambda some: np.array([statistic(some)]),
            reps=_N_RESAMPLES,
        )
    finally:
        np.random.set_state(state)
    low, high = intervals["all"][:, 0]
    return float(points["all"][0]), float(low), float(high)
