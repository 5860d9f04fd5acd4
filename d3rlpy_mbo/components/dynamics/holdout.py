"""What a model is not fitted on: random rows, or those of whole episodes."""

import math

import torch

from ...data.transitions import Transitions
from ...support.errors import DatasetError

__all__ = ["split", "split_by_episode"]


def split(
    transitions: Transitions,
    holdout: str,
    *,
    ratio: float,
    at_most: int,
    batch_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the rows held out and the others, each in random order.

    Args:
        transitions: N rows.
        holdout: ``"rows"``, or those of whole ``"episodes"``.
        ratio: Share of the rows held out ...
        at_most: ... and the most of them; an episode's last rows may exceed it.
        batch_size: Rows that must be left to fit on.

    Raises:
        DatasetError: There are too few rows, or see `split_by_episode`.
    """
    n_rows = len(transitions)
    needed = math.ceil(batch_size / (1 - ratio))
    if n_rows < needed:
        raise DatasetError(
            f"The ensemble got {n_rows} transitions with known next observations, "
            f"expected at least {needed}: a batch of {batch_size} besides {ratio:.0%} held "
            "out. Collect more, or lower batch_size."
        )
    n_holdout = min(max(int(n_rows * ratio), 1), at_most)
    if holdout == "episodes":
        return split_by_episode(transitions, n_holdout, batch_size)
    rows = torch.randperm(n_rows)
    return rows[:n_holdout].clone(), rows[n_holdout:]


def split_by_episode(
    transitions: Transitions, n_holdout: int, least_training: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws whole episodes to hold out.

    Args:
        transitions: N rows that know their episodes.
        n_holdout: Episodes are held out until they have this many rows ...
        least_training: ... or fewer than this many rows, or no episode, would be left.

    Returns:
        The rows held out, and the others in random order.

    Raises:
        DatasetError: The rows do not know their episodes, or there are too few episodes.
    """
    if transitions.episode_ids is None:
        raise DatasetError(
            "holdout is 'episodes', but these transitions do not know their episodes. "
            "Fit the imagination on a dataset, or the dynamics on "
            "RealData.of(dataset).for_models; or use holdout='rows'."
        )
    _, numbers, sizes = torch.unique(
        transitions.episode_ids, return_inverse=True, return_counts=True
    )
    order = torch.randperm(len(sizes))
    rows_so_far = sizes[order].cumsum(dim=0)
    before = rows_so_far - sizes[order]
    chosen = (before < n_holdout) & (len(transitions) - rows_so_far >= least_training)
    chosen[1:] &= chosen[:-1].cumprod(dim=0).bool()  # the first ones of the order
    if not bool(chosen[0]) or len(sizes) < 2:
        raise DatasetError(
            f"holdout is 'episodes', but there are {len(sizes)} episodes, and the first "
            f"one drawn has {int(sizes[order[0]])} of {len(transitions)} rows: without "
            f"it, there must be another episode and {least_training} rows to fit on. Use "
            "holdout='rows', or collect more episodes."
        )
    held_out = torch.zeros(len(sizes), dtype=torch.bool)
    held_out[order[chosen]] = True
    shuffled = torch.randperm(len(transitions))
    is_held_out = held_out[numbers[shuffled]]
    return shuffled[is_held_out], shuffled[~is_held_out]
