"""What d3rlpy's scalers and policies do to data that they were not made for."""

import copy
import warnings
from typing import Any, Optional

import numpy as np
import torch

from ..data.real_data import RealData
from ..support.errors import CompositionError, listed
from .reading import AnyLearner, is_transformer

__all__ = ["validate_scalers", "warn_beyond_range"]

_COLUMNS = {
    "observation_scaler": "observations",
    "action_scaler": "actions",
    "reward_scaler": "rewards",
}

# What they hold for each column, by their names.
_NUMBERS = {"standard": ("mean", "std"), "min_max": ("minimum", "maximum")}

# Of returns, in float32: what rounding leaves of equal ones is no difference (ours).
_ROUNDING = 1e-6

# Beyond it an action is outside [-1, 1] by more than rounding (ours).
_RANGE = 1.001


def validate_scalers(learner: AnyLearner, real: RealData) -> None:
    """Refuses scalers that do not fit this data, or would divide by zero on it.

    Dividing by zero makes d3rlpy's policies NaN. A transformer's scalers are fitted on
    whole episodes, with the last reward of those that were cut, so copies of them are
    fitted as d3rlpy would.

    Raises:
        CompositionError: Names the scaler, and its sizes, the columns, or why it cannot
            be fitted.
    """
    for name, columns in _COLUMNS.items():
        scaler = getattr(learner.config, name, None)
        if scaler is None:
            continue
        if getattr(scaler, "multiplier", 1) == 0:
            raise CompositionError(
                f"The {name} of {type(learner).__name__}, {type(scaler).__name__}, has a "
                "multiplier of 0: all rewards become 0, and no value can be read back."
            )
        _validate_size(learner, name, scaler, getattr(real.transitions, columns))
        width: Optional[torch.Tensor]
        fitted = scaler
        if is_transformer(learner) and not scaler.built:
            fitted = _fitted_on_trajectories(scaler, name, learner, real)
        if scaler.get_type() == "return":
            columns, width = "returns of episodes", _returns_width(fitted, real)
            if fitted is not scaler:
                largest = max(abs(fitted.return_max), abs(fitted.return_min))
                width[width <= _ROUNDING * largest] = 0.0
        else:
            width = _width(fitted, getattr(real.transitions, columns))
        if width is None:
            continue
        constant = torch.nonzero(width == 0)[:, 0].tolist()
        if constant:
            raise CompositionError(
                f"The {name} of {type(learner).__name__}, {type(scaler).__name__}, divides "
                f"by zero: columns [{listed(constant)}] of the {columns} never change. "
                "Leave those columns out of the data, or give the scaler bounds that "
                "differ, or use a Standard scaler, which has an eps."
            )


def _validate_size(
    learner: AnyLearner, name: str, scaler: Any, values: torch.Tensor
) -> None:
    """Refuses a scaler whose numbers have another size than the data's columns.

    As a scaler fitted on other data has: d3rlpy fits the object in the learner's config.
    """
    if name == "reward_scaler" or not scaler.built:
        return
    for field in _NUMBERS.get(scaler.get_type(), ()):
        shape = np.shape(getattr(scaler, field))
        if shape and shape != values.shape[1:]:  # a single number is for all columns
            raise CompositionError(
                f"The {name} of {type(learner).__name__}, {type(scaler).__name__}, has a "
                f"{field} of shape {shape}, but the dataset's {_COLUMNS[name]} have size "
                f"{values.shape[1]}, shape ({values.shape[1]},). If it was fitted on "
                "other data: d3rlpy fits the scaler object in a config, so give each "
                "learner a scaler of its own."
            )


def _fitted_on_trajectories(
    scaler: Any, name: str, learner: AnyLearner, real: RealData
) -> Any:
    """Returns a copy of a scaler, fitted as d3rlpy fits a transformer's.

    Raises:
        CompositionError: d3rlpy cannot; two of its own need episodes of one length.
    """
    fitted, dataset = copy.deepcopy(scaler), real.dataset
    try:
        fitted.fit_with_trajectory_slicer(dataset.episodes, dataset.trajectory_slicer)
    except Exception as error:
        raise CompositionError(
            f"The {name} of {type(learner).__name__}, {type(scaler).__name__}, cannot be "
            f"fitted on these episodes: {type(error).__name__}: {error}. d3rlpy's "
            "Standard and MinMax reward scalers fail on episodes of different lengths. "
            "Give the scaler its numbers (mean and std, minimum and maximum), or use "
            "another, such as ReturnBasedRewardScaler."
        ) from error
    return fitted


def _width(scaler: Any, values: torch.Tensor) -> Optional[torch.Tensor]:
    """Returns what a scaler divides columns by, None if nothing can become zero.

    If it is not fitted, what these values would make of it: d3rlpy then determines all
    its numbers anew, also those that were given.
    """
    if scaler.get_type() == "min_max":
        if scaler.built:
            low, high = map(torch.as_tensor, (scaler.minimum, scaler.maximum))
            return (high - low).flatten()
        return values.amax(dim=0) - values.amin(dim=0)
    if scaler.get_type() == "standard" and scaler.eps == 0:
        if scaler.built:
            return torch.as_tensor(scaler.std).flatten()
        return values.std(dim=0, correction=0)
    return None


def _returns_width(scaler: Any, real: RealData) -> torch.Tensor:
    """Returns (1,) the greatest minus the least return of an episode."""
    if scaler.built:
        return torch.tensor([scaler.return_max - scaler.return_min])
    returns = real.episode_returns
    # What rounding leaves of equal returns is no difference.
    width = returns.max() - returns.min()
    rounding = 1e-9 * real.transitions.rewards.double().abs().sum()
    return torch.where(width > rounding, width, 0.0)[None]


def warn_beyond_range(learner: AnyLearner, real: RealData) -> None:
    """Warns if the data's actions lie where the learner's policy cannot.

    d3rlpy's continuous policies act within [-1, 1]; without an action_scaler, actions
    beyond it are never taken, and imagined ones become a corner of the data's range.
    """
    scaled = getattr(learner.config, "action_scaler", None) is not None
    if scaled or real.transitions.n_actions is not None:
        return
    actions = real.transitions.actions
    low, high = actions.amin(dim=0), actions.amax(dim=0)
    beyond = torch.nonzero((low < -_RANGE) | (high > _RANGE))[:, 0].tolist()
    if beyond:
        first = beyond[0]
        warnings.warn(
            f"The dataset's actions lie outside [-1, 1] in columns [{listed(beyond)}] "
            f"(column {first}: {float(low[first]):g} to {float(high[first]):g}), but "
            f"{type(learner).__name__} acts within [-1, 1]. Give the learner "
            "action_scaler=d3rlpy.preprocessing.MinMaxActionScaler().",
            stacklevel=3,
        )
