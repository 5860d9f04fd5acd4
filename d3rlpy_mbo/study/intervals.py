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


def paired(differences: Sequence[float]) -> tuple[float, float, float]:
    """Returns the mean of differences and the ends of its 95 % t-interval.

    Args:
        differences: Of pairs; of one alone the ends are NaN.
    """
    center, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return center, math.nan, math.nan
    half = _student(n - 1) * statistics.stdev(differences) / math.sqrt(n)
    return center, center - half, center + half


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
    shares = [statistics.variance(each) / len(each) for each in (first, second)]
    center, squared = statistics.fmean(first) - statistics.fmean(second), sum(shares)
    if squared == 0:
        return center, center, center
    freedom = squared**2 / sum(
        share**2 / (len(each) - 1)
        for share, each in zip(shares, (first, second), strict=True)
    )
    half = _student(freedom) * math.sqrt(squared)
    return center, center - half, center + half


def _student(freedom: float) -> float:
    """Returns the quantile of Student's t that leaves 2.5 % above it."""
    from scipy import stats

    return float(stats.t.ppf(0.975, freedom))


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
