"""Episodes that a model has not seen."""

from typing import Optional

import torch

from ...data.real_data import RealData

__all__ = ["unseen_episodes"]


def unseen_episodes(real: RealData, unseen: torch.Tensor) -> Optional[torch.Tensor]:
    """Returns which episodes a model was not fitted on.

    Args:
        real: What it was fitted on.
        unseen: Those of its rows for models that were held out.

    Returns:
        (episodes,) bool; None if the model has seen other rows of their episodes.
    """
    ids = real.for_models.episode_ids
    assert ids is not None
    held_out = torch.zeros(len(ids), dtype=torch.bool)
    held_out[unseen] = True
    n_episodes = len(real.episode_starts) - 1
    counts = torch.bincount(ids, minlength=n_episodes)
    n_held_out = torch.bincount(ids[held_out], minlength=n_episodes)
    whole = (n_held_out == counts) & (counts > 0)
    return whole if bool(whole[ids[held_out].long()].all()) else None
