"""How a batch is split between real and imagined rows."""

from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
import numpy.typing as npt

from ..imagination.imagination import Imagination, ImaginationConfig
from ..registry.fields import Number
from ..support.errors import CompositionError

__all__ = ["batch_shares", "imaginations_of", "split_batch", "validate_imagination"]


def imaginations_of(
    imagination: Union[Imagination, Sequence[Imagination]],
) -> list[Imagination]:
    """Returns one imagination, several or none as a list.

    Raises:
        CompositionError: Something else, such as a config.
    """
    several = isinstance(imagination, Sequence) and not isinstance(imagination, str)
    given: list[Any] = list(imagination) if several else [imagination]  # type: ignore[arg-type]
    for each in given:
        validate_imagination(each, "an Imagination, several, or none: []")
    return given


def validate_imagination(given: Any, expected: str = "an Imagination") -> None:
    """Raises CompositionError if it is something else, such as a config."""
    if isinstance(given, ImaginationConfig):
        name = type(given).__name__
        raise CompositionError(
            f"imagination is the config {name}(...), expected what it creates: "
            f"{name}(...).create(device)."
        )
    if not isinstance(given, Imagination):
        raise CompositionError(f"imagination is {given!r}, expected {expected}.")


def batch_shares(
    imaginations: Sequence[Imagination],
    real_ratio: Optional[float],
    shares: Optional[Sequence[float]],
) -> npt.NDArray[np.float64]:
    """Returns the share of the real rows, then of each imagination; they sum to 1."""
    if not imaginations:
        if real_ratio not in (None, 1.0) or shares:
            raise CompositionError(
                f"There is no imagination, but real_ratio is {real_ratio} and shares is "
                f"{shares}. Leave them out, or pass an imagination."
            )
        return np.ones(1)
    if real_ratio is None:
        if len(imaginations) > 1:
            raise CompositionError(
                f"{len(imaginations)} imaginations have "
                f"{[each.config.real_ratio for each in imaginations]} as their own "
                "real_ratio. Pass real_ratio=... for the buffer."
            )
        real_ratio = imaginations[0].config.real_ratio
    Number(at_least=0, at_most=1).validated("real_ratio", real_ratio)
    try:
        weights = (
            np.ones(len(imaginations)) if shares is None else np.array(shares, float)
        )
    except (TypeError, ValueError):  # no numbers: refused below
        weights = np.zeros(0)
    if weights.shape != (len(imaginations),) or not (
        np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0
    ):
        raise CompositionError(
            f"shares is {shares}, expected a list of numbers from 0 on, one for each "
            f"imagination ({len(imaginations)}), not all 0."
        )
    return np.concatenate([[real_ratio], (1 - real_ratio) * weights / weights.sum()])


def split_batch(
    batch_size: int, shares: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Splits a batch so that every share is exact in expectation (systematic sampling)."""
    cuts = np.empty(len(shares) + 1)  # np.diff takes three times as long
    cuts[0], cuts[-1] = 0, batch_size
    np.floor(batch_size * shares.cumsum()[:-1] + np.random.random(), out=cuts[1:-1])
    return (cuts[1:] - cuts[:-1]).astype(np.int64)
