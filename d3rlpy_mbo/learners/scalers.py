"""What d3rlpy's scalers and policies do to data that they were not made for."""

import warnings
from typing import Any, Optional

import torch

from ..data.real_data import RealData
from ..support.errors import CompositionError
from .reading import AnyLearner

__all__ = ["validate_scalers", "warn_beyond_range"]

_COLUMNS = {
    "observation_scaler": "observations",
    "action_scaler": "actions",
    "reward_scaler": "rewards",
}

# Beyond it an action is outside [-1, 1] by more than rounding (ours).
_RANGE = 1.001


def validate_scalers(learner: AnyLearner, real: RealData) -> None:
    """Refuses scalers that would divide by zero on this data: d3rlpy's policies become NaN.

    Raises:
        CompositionError: Names the scaler and the columns.
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
        width: Optional[torch.Tensor]
        if scaler.get_type() == "return":
            columns, width = "returns of episodes", _returns_width(scaler, real)
        else:
            width = _width(scaler, getattr(real.transitions, columns))
        if width is None:
            continue
        constant = torch.nonzero(width == 0)[:, 0].tolist()
        if constant:
            raise CompositionError(
                f"The {name} of {type(learner).__name__}, {type(scaler).__name__}, divides "
                f"by zero: columns {constant} of the {columns} never change. Leave those "
                "columns out of the data, or give the scaler bounds that differ, or use a "
                "Standard scaler, which has an eps."
            )


def _width(scaler: Any, values: torch.Tensor) -> Optional[torch.Tensor]:
    """Returns what a scaler divides columns by, None if nothing can become zero."""
    if scaler.get_type() == "min_max":
        low, high = (
            found.flatten() if given is None else torch.as_tensor(given).flatten()
            for found, given in (
                (values.amin(dim=0), scaler.minimum),
                (values.amax(dim=0), scaler.maximum),
            )
        )
        return high - low
    if scaler.get_type() == "standard" and scaler.eps == 0:
        given = scaler.std
        return (
            values.std(dim=0, correction=0)
            if given is None
            else torch.as_tensor(given).flatten()
        )
    return None


def _returns_width(scaler: Any, real: RealData) -> torch.Tensor:
    """Returns (1,) the greatest minus the least return of an episode."""
    if scaler.built:
        return torch.tensor([scaler.return_max - scaler.return_min])
    rewards = real.transitions.rewards[:, 0].double()
    sums = torch.cat([torch.zeros(1), rewards.cumsum(0)])[real.episode_starts].diff()
    # What rounding leaves of equal returns is no difference.
    width = sums.max() - sums.min()
    rounding = 1e-9 * rewards.abs().sum()
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
            f"The dataset's actions lie outside [-1, 1] in columns {beyond} (column "
            f"{first}: {float(low[first]):g} to {float(high[first]):g}), but "
            f"{type(learner).__name__} acts within it. Give the learner "
            "action_scaler=d3rlpy.preprocessing.MinMaxActionScaler().",
            stacklevel=3,
        )
