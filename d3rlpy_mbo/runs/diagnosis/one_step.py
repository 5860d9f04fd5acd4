"""Errors of one step, by column, beside a predictor that says that nothing changes."""

from collections.abc import Sequence
from typing import Optional

import torch

from .predictions import Predicted
from .results import ColumnError, OneStep, RareReward

__all__ = ["one_step", "varies"]


def varies(values: torch.Tensor) -> torch.Tensor:
    """Returns (n,) whether the columns of (B, n) vary by more than float32's rounding."""
    rounding = 1e-6 * values.abs().amax(dim=0)
    return values.std(dim=0, unbiased=False) > rounding


def one_step(
    judged: Predicted,
    means: torch.Tensor,
    names: Sequence[str],
    rewards: torch.Tensor,
) -> OneStep:
    """Measures the errors of the imagining members' means.

    Args:
        judged: Real rows and what the model says of them.
        means: (n_elites, B, D + 1) of the imagining members, with the known reward if
            there is one.
        names: Of the D + 1 columns.
        rewards: (N, 1) of all data, for its commonest value.
    """
    errors = means - judged.targets
    # What changes: the observation since it was given; the reward is news as a whole.
    changes = judged.targets.clone()
    changes[:, :-1] -= judged.given
    naive = changes.clone()
    naive[:, -1] -= changes[:, -1].mean()
    squared = errors.square().mean(dim=(0, 1))
    # Rounding of the observation, not of its change, is what float32 leaves.
    moving = varies(judged.targets) & varies(changes)
    variances = changes.var(dim=0, unbiased=False)
    columns = [
        ColumnError(
            name=name,
            error=float(squared[i].sqrt()),
            bias=float(errors[..., i].mean()),
            naive_error=float(naive[:, i].square().mean().sqrt()),
            unexplained=float(squared[i] / variances[i]) if moving[i] else None,
            spread=float(judged.targets[:, i].std(unbiased=False)),
        )
        for i, name in enumerate(names)
    ]
    return OneStep(
        columns=columns,
        rare_reward=_rare_reward(judged, errors[..., -1], naive[:, -1], rewards),
        alignment=_alignment(errors, changes, moving),
        finite_share=judged.finite_share,
    )


def _rare_reward(
    judged: Predicted, errors: torch.Tensor, naive: torch.Tensor, rewards: torch.Tensor
) -> Optional[RareReward]:
    """Returns the errors where the reward is not the value that most rows have."""
    values, counts = torch.unique(rewards, return_counts=True)
    commonest, count = values[counts.argmax()], int(counts.max())
    if count < len(rewards) / 2 or count == len(rewards):
        return None
    rare = judged.rows.rewards[:, 0] != commonest
    if not bool(rare.any()):
        return None
    return RareReward(
        commonest=float(commonest),
        rows=int(rare.sum()),
        error=float(errors[:, rare].square().mean().sqrt()),
        naive_error=float(naive[rare].square().mean().sqrt()),
    )


def _alignment(
    errors: torch.Tensor, changes: torch.Tensor, moving: torch.Tensor
) -> Optional[float]:
    """Returns the cosine between predicted and true changes of the observation."""
    moving = moving[:-1]
    if not bool(moving.any()):
        return None
    true = changes[:, :-1][:, moving]
    size = true.square().mean(dim=0).sqrt()
    said = ((true + errors[..., :-1].mean(dim=0)[:, moving]) / size).flatten()
    true = (true / size).flatten()
    norms = torch.linalg.vector_norm(said) * torch.linalg.vector_norm(true)
    return float((said * true).sum() / norms) if norms > 0 else 0.0
