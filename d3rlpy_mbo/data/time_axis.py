"""Which axis of arrays of three dimensions is time: episodes have it second."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..support.errors import DatasetError
from .values import numbers

__all__ = ["validate_time_axis"]

# Ours: entries that are looked at, and fewer than which say nothing.
_MOST, _LEAST = 1000, 10
# Ours: the share of what any two entries of an axis differ by that neighbours do, below
# which it is time; of what they do along the other one, likewise.
_NEAR, _NEARER = 1 / 3, 1 / 2


def validate_time_axis(given: Mapping[str, Any], whose: str) -> None:
    """Refuses one array for all episodes whose first axis is time.

    Vector environments and Stable-Baselines3 keep (steps, environments, size): read as
    episodes, each is what several environments saw at once, and models would learn the way
    from one environment to the next. A list of arrays is believed.

    Args:
        given: The arguments of `dataset_from_arrays` by name, of whole episodes.
        whose: For messages.

    Raises:
        DatasetError: Next observations are the following entry's along the first axis; or
            none are given, and neighbours there are alike as only steps are.
    """
    if isinstance(given["observations"], (list, tuple)):
        return
    observations = numbers(given["observations"], "observations", whose)[:_MOST]
    if observations.ndim != 3 or len(observations) < _LEAST:
        return
    following = given.get("next_observations")
    of_actions = getattr(given["actions"], "shape", ())
    if following is not None:
        after = numbers(following, "next_observations", whose)[:_MOST]
        if after.shape != observations.shape:
            return  # said by its shape
        first = _all_equal(after[:-1], observations[1:])
        second = _all_equal(after[:, :-1], observations[:, 1:])
        is_time = first > 0.5 > second
    elif of_actions[1:2] == observations.shape[1:2]:
        first, second = (_nearness(np.moveaxis(observations, k, 0)) for k in (0, 1))
        is_time = first < min(_NEAR, _NEARER * second)
    else:
        return  # one observation more than actions: episodes, surely
    if is_time:
        shape = np.shape(given["observations"])
        raise DatasetError(
            f"observations of {whose} have shape {shape}, read as (episodes, steps, size), "
            "but time runs along the first axis: (steps, environments, size), as vector "
            "environments and Stable-Baselines3 keep it. Put one environment after the "
            'other, row by row (docs/own-data.md, "From Stable-Baselines3"). If these are '
            "episodes after all, give a list of them: list(observations)."
        )


def _all_equal(some: npt.NDArray[Any], others: npt.NDArray[Any]) -> float:
    """Returns the share of the vectors that are the same."""
    return float((some == others).all(axis=-1).mean()) if some.size else 0.0


def _nearness(entries: npt.NDArray[Any]) -> float:
    """Returns by how much neighbours differ, as a share of what any two do.

    Args:
        entries: (n, others, D), of which n are neighbours.

    Returns:
        Of a typical column that changes at all; 1 where there is none, or one entry.
    """
    if len(entries) < 2:
        return 1.0
    values = entries.astype(np.float64)
    others = values[np.random.default_rng(0).permutation(len(values))]
    neighbours = np.abs(np.diff(values, axis=0)).mean(axis=(0, 1))
    any_two = np.abs(values - others).mean(axis=(0, 1))
    moving = any_two > 0
    return (
        float(np.median(neighbours[moving] / any_two[moving])) if moving.any() else 1.0
    )
