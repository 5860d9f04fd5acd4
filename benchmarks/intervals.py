"""How often the intervals of a study's report hold the truth, for a few seeds.

    python benchmarks/intervals.py [--n-samples N]

Draws studies whose truth is known, and counts. For one method, whose scores are normal: a
percentile bootstrap of the mean and of the interquartile mean, as rliable makes them, and
Student's t. For the difference of two, one of which spreads twice as much: a bootstrap of
pairs, and Welch's interval. Seconds.
"""

import argparse

import numpy as np
import numpy.typing as npt
from scipy import stats

_N_RESAMPLES = 2_000
Array = npt.NDArray[np.float64]


def percentile_bootstrap(
    scores: Array, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Returns the ends of the 95 % intervals of means, of (studies, seeds) scores."""
    n_seeds = scores.shape[1]
    # How often each seed is drawn: one matrix of resamples serves all studies.
    drawn = generator.multinomial(n_seeds, [1 / n_seeds] * n_seeds, _N_RESAMPLES)
    means = scores @ drawn.T / n_seeds
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return low, high


def interquartile_bootstrap(
    scores: Array, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Returns the same of interquartile means."""
    n_seeds = scores.shape[1]
    drawn = generator.integers(n_seeds, size=(_N_RESAMPLES, n_seeds))
    means = [stats.trim_mean(each[drawn], 0.25, axis=1) for each in scores]
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return low, high


def student(scores: Array) -> tuple[Array, Array]:
    """Returns the same by Student's t."""
    n_seeds = scores.shape[1]
    half = stats.t.ppf(0.975, n_seeds - 1) * stats.sem(scores, axis=1)
    return scores.mean(axis=1) - half, scores.mean(axis=1) + half


def welch(first: Array, second: Array) -> tuple[Array, Array]:
    """Returns the ends of Welch's intervals of differences of means."""
    found = stats.ttest_ind(first, second, axis=1, equal_var=False)
    low, high = found.confidence_interval(0.95)
    return low, high


def coverage(ends: tuple[Array, Array]) -> float:
    """Returns how often intervals hold the truth, which is 0."""
    low, high = ends
    return float(np.mean((low <= 0) & (high >= 0)))


def covered(n_seeds: int, n_samples: int) -> dict[str, float]:
    """Returns how often each interval holds the truth, for as many seeds."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(n_samples, n_seeds))
    wider = 2 * generator.normal(size=(n_samples, n_seeds))
    return {
        "mean, bootstrap": coverage(percentile_bootstrap(scores, generator)),
        "interquartile mean, bootstrap": coverage(
            interquartile_bootstrap(scores[: n_samples // 10], generator)
        ),
        "mean, Student's t": coverage(student(scores)),
        "difference, bootstrap in pairs": coverage(
            percentile_bootstrap(scores - wider, generator)
        ),
        "difference, Welch": coverage(welch(scores, wider)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-samples", type=int, default=20_000)
    n_samples = parser.parse_args().n_samples
    for n_seeds in (3, 5, 10):
        found = covered(n_seeds, n_samples)
        print(n_seeds, "seeds:", *(f"{k} {100 * v:.1f} %" for k, v in found.items()))


if __name__ == "__main__":
    main()
