"""Which axis of arrays of three dimensions is time: episodes have it second."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..support.errors import DatasetError
from .values import numbers

__all__ = ["validate_time_axis"]

# Ours: how many neighbours along an axis are compared, of how many entries of the other
# axis, and fewer than how many say nothing.
_MOST, _BESIDE, _LEAST = 1000, 50, 10
# Ours: an axis may be time if its neighbours differ by less than this share of what any
# two of its entries do, and by less than this share of what the other's neighbours do.
_NEAR, _NEARER = 1 / 3, 1 / 2


def validate_time_axis(given: Mapping[str, Any], whose: str) -> None:
    """Refuses one array for all episodes whose first axis is time.

    Vector environments and Stable-Baselines3 keep (steps, environments, size): read as
    episodes, each would be what several environments saw at one time, and models would
    learn transitions from one environment to the next. A list of arrays is believed.

    Args:
        given: The arguments of `dataset_from_arrays` by name, of whole episodes.
        whose: For messages.

    Raises:
        DatasetError: Next observations are the following entry's along the first axis; or
            none are given, and only along the first axis neighbours are near as steps
            are.
    """
    if isinstance(given["observations"], (list, tuple)):
        return
    observations = numbers(given["observations"], "observations", whose)
    if observations.ndim != 3 or len(observations) < _LEAST:
        return
    following = given.get("next_observations")
    of_actions = getattr(given["actions"], "shape", ())
    if following is not None:
        after = numbers(following, "next_observations", whose)
        if after.shape != observations.shape:
            return  # said by its shape
        some, after = observations[:_MOST, :_BESIDE], after[:_MOST, :_BESIDE]
        first = _chained(some, after)
        second = _chained(some.swapaxes(0, 1), after.swapaxes(0, 1))
        is_time = first > 0.5 > second
    elif of_actions[1:2] == observations.shape[1:2]:
        is_time = _runs_along_the_first(observations)
    else:
        return  # one observation more than actions: episodes, surely
    if is_time:
        shape = np.shape(given["observations"])
        raise DatasetError(
            f"observations of {whose} have shape {shape}, read as (episodes, steps, size), "
            "but time seems to run along the first axis: (steps, environments, size), as "
            "vector environments and Stable-Baselines3 keep it. If so, put one environment "
            'after the other, row by row (docs/own-data.md, "From Stable-Baselines3"). If '
            "they are episodes, pass them as a list: list(observations)."
        )


def _chained(entries: npt.NDArray[Any], after: npt.NDArray[Any]) -> float:
    """Returns the share of steps along the first axis that lead to the next entry.

    Of those that move: where nothing does, that it is the next one says nothing.
    """
    moves = (entries[1:] != entries[:-1]).any(axis=-1)
    leads = (after[:-1] == entries[1:]).all(axis=-1)
    return float(leads[moves].mean()) if moves.any() else 0.0


def _runs_along_the_first(observations: npt.NDArray[Any]) -> bool:
    """Returns whether neighbours of the first axis alone are as near as steps are.

    Nearer than any two of that axis, and than neighbours of the second. Of days of weather
    the first is so as well: the second is not.
    """
    first, any_two = _differences(observations)
    second, _ = _differences(np.moveaxis(observations, 1, 0))
    moving = any_two > 0
    if not moving.any():
        return False
    near = float(np.median(first[moving] / any_two[moving]))
    if observations.shape[1] == 1:
        return near < _NEAR
    both = moving & (second > 0)
    return (
        bool(both.any())
        and near < _NEAR
        and float(np.median(first[both] / second[both])) < _NEARER
    )


def _differences(
    entries: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns what neighbours differ by, and what any two do: (D,) means of some.

    Args:
        entries: (n, others, D), of which n are neighbours.
    """
    every = max(1, entries.shape[1] // _BESIDE)
    some = entries[:_MOST, ::every].astype(np.float64)
    others = some[np.random.default_rng(0).permutation(len(some))]
    neighbours = np.abs(np.diff(some, axis=0))
    if not len(neighbours):
        return np.zeros(some.shape[-1]), np.zeros(some.shape[-1])
    return neighbours.mean(axis=(0, 1)), np.abs(some - others).mean(axis=(0, 1))
