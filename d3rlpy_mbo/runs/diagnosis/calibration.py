"""How far the predicted spread can be believed."""

import math
from collections.abc import Sequence
from typing import Optional

import torch

from .one_step import varies
from .predictions import Predicted
from .results import Calibration, ColumnCalibration

__all__ = ["calibration"]

_TENTHS = 10


def calibration(
    judged: Predicted, names: Sequence[str], with_reward: bool
) -> Optional[Calibration]:
    """Compares targets with the predicted distributions.

    Args:
        judged: Real rows and what the model says of them.
        names: Of the D + 1 columns.
        with_reward: Whether the predicted reward is used at all.

    Returns:
        None if the model gives no column a spread.
    """
    usable = varies(judged.targets) & (judged.stds > 0).all(dim=(0, 1))
    usable[-1] &= with_reward
    kept = torch.nonzero(usable)[:, 0]
    if not len(kept):
        return None
    offsets = (judged.targets - judged.means)[..., kept] / judged.stds[..., kept]
    elites, log_stds = (
        offsets[: judged.n_elites],
        judged.elite_stds[..., kept].log(),
    )
    log_densities = -0.5 * elites.square() - log_stds - 0.5 * math.log(2 * math.pi)
    log_mixture = log_densities.logsumexp(dim=0) - math.log(len(elites))
    distribution = torch.special.ndtr(elites).mean(dim=0)
    columns = [
        ColumnCalibration(
            name=names[int(column)],
            within_one_std=_within(elites[..., i], 1),
            within_two_stds=_within(elites[..., i], 2),
            log_likelihood=float(log_mixture[:, i].mean()),
            pit=_tenths(distribution[:, i]),
            median_std=float(judged.elite_stds[..., column].median()),
        )
        for i, column in enumerate(kept)
    ]
    return Calibration(columns, [_within(member, 2) for member in offsets])


def _within(offsets: torch.Tensor, n_stds: int) -> float:
    return float((offsets.abs() <= n_stds).double().mean())


def _tenths(values: torch.Tensor) -> list[float]:
    """Returns the shares of (B,) values in [0, 1] in each tenth of it."""
    which = (values * _TENTHS).long().clamp(max=_TENTHS - 1)
    shares: list[float] = (
        torch.bincount(which, minlength=_TENTHS).double() / len(values)
    ).tolist()
    return shares
