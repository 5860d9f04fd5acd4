"""Interquartile means and bootstrap intervals by rliable, and intervals of Student's t.

A percentile bootstrap of a few seeds is too narrow: of five normal ones its 95 % interval
holds the mean 84 times in a hundred, of three 75 (``benchmarks/intervals.py``). Student's
holds it 95 times where scores are normal, and is wider for that.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_NOT_FINITE = (math.nan, math.nan, math.nan)

# Below, a bootstrap of the seeds says more about the seeds than about the method.
LEAST_SEEDS = 5
_N_RESAMPLES = 10_000


def interquartile_mean(scores: npt.ArrayLike) -> tuple[float, float, float]:
    """Returns the interquartile mean and the ends of its 95 % interval.

    As everywhere here all three are NaN where a score is not finite: sorted to the end,
    such a one would be left out as if it were an outlier.

    Args:
        scores: With shape (seeds, tasks); seeds are drawn anew for each task.
    """
    from rliable import metrics

    return _estimate(scores, metrics.aggregate_iqm)


def mean(scores: npt.ArrayLike) -> tuple[float, float, float]:
    """Returns the mean and the ends of its 95 % interval, likewise."""
    from rliable import metrics

    return _estimate(scores, metrics.aggregate_mean)


def paired(differences: Sequence[float]) -> tuple[float, float, float]:
    """Returns the mean of differences and the ends of its 95 % t-interval.

    Args:
        differences: Of pairs; of one alone the ends are NaN.
    """
    from scipy import stats

    if not np.isfinite(differences).all():
        return _NOT_FINITE
    center = statistics.fmean(differences)
    if len(differences) < 2:
        return center, math.nan, math.nan
    if not statistics.variance(differences):
        return center, center, center
    interval = stats.ttest_1samp(differences, 0).confidence_interval()
    return center, float(interval.low), float(interval.high)


def welch(
    first: Sequence[float], second: Sequence[float]
) -> tuple[float, float, float]:
    """Returns the difference of two means and the ends of its 95 % interval.

    Welch 1947, with Satterthwaite's degrees of freedom: spreads may differ, and runs of one
    seed count as no pair.

    Args:
        first: Scores of a method, two at least.
        second: Scores of another, likewise.
    """
    from scipy import stats

    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return _NOT_FINITE
    center = statistics.fmean(first) - statistics.fmean(second)
    if not statistics.variance(first) + statistics.variance(second):
        return center, center, center
    interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    return center, float(interval.low), float(interval.high)


def _estimate(
    scores: npt.ArrayLike, statistic: Callable[[Any], float]
) -> tuple[float, float, float]:
    # Slow to import, and needed only where there are seeds enough.
    from rliable import library

    if not np.isfinite(scores).all():
        return _NOT_FINITE
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
