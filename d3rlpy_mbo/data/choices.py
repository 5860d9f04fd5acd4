"""Discrete actions that a user gives: indices of choices, or refused by name."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..support.errors import DatasetError

__all__ = ["never_taken", "validate_choices", "validated_n_actions"]

_CONTINUOUS = (
    "If these are numbers that are whole only by chance, they are continuous: d3rlpy "
    "guesses unless it is told, so build the dataset with "
    "action_space=d3rlpy.ActionSpace.CONTINUOUS and action_size."
)


def validated_n_actions(n_actions: Any, whose: str = "the dataset") -> int:
    """Returns how many choices there are as Python's int.

    d3rlpy cannot save a learner that has NumPy's, as `actions.max() + 1` is, and what
    Gymnasium's spaces hold.

    Args:
        n_actions: How many choices there are.
        whose: Of what dataset, for messages.

    Raises:
        DatasetError: There is nothing to choose.
    """
    whole = isinstance(n_actions, (int, np.integer)) and not isinstance(n_actions, bool)
    if not whole or n_actions < 1:
        raise DatasetError(
            f"n_actions of {whose} is {n_actions!r}, expected how many choices there are, "
            "2 or more, or None for continuous actions."
        )
    if n_actions == 1:
        raise DatasetError(
            f"There is a single action in {whose}, so there is nothing to choose. "
            f"Say how many there are with n_actions or action_size. {_CONTINUOUS}"
        )
    return int(n_actions)


def validate_choices(
    actions: npt.NDArray[Any], n_actions: int, name: str = "actions", start: int = 0
) -> None:
    """Raises DatasetError unless actions are indices of choices.

    Args:
        actions: (N, 1).
        n_actions: How many choices there are.
        name: What they are, for messages.
        start: The least index.
    """
    if actions.ndim != 2 or actions.shape[1] != 1:
        raise DatasetError(
            f"{name} have shape {actions.shape}, expected (rows, 1): the index of one "
            "choice per step. For one-hot rows that is actions.argmax(axis=1). Several "
            "choices at once (MultiDiscrete, MultiBinary) are not supported: number "
            "their combinations, np.ravel_multi_index(actions.T, sizes) "
            f"(docs/discrete-actions.md). {_CONTINUOUS}"
        )
    wrong = (actions != np.round(actions))[:, 0]
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DatasetError(
            f"{int(wrong.sum())} {name} are no integers, the first at row {row}: "
            f"{actions[row, 0]}. Expected indices of choices, {start} to "
            f"{start + n_actions - 1}. {_CONTINUOUS}"
        )
    outside = ((actions < start) | (actions >= start + n_actions))[:, 0]
    if outside.any():
        row = int(np.argmax(outside))
        raise DatasetError(
            f"{int(outside.sum())} {name} name none of the {n_actions} choices, the first "
            f"at row {row}: {actions[row, 0]:g}. Expected {start} to "
            f"{start + n_actions - 1}: count from there, or say how many there are "
            f"(action_size, n_actions). {_CONTINUOUS}"
        )


def never_taken(actions: torch.Tensor, n_actions: int) -> list[int]:
    """Returns the choices that no row of (N, 1) takes."""
    counts = torch.bincount(actions[:, 0].long(), minlength=n_actions)
    missing: list[int] = torch.nonzero(counts == 0)[:, 0].tolist()
    return missing
