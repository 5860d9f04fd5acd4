"""What a fit measured on its way, kept for the logs of the run that follows."""

from typing import NamedTuple

__all__ = ["FitRecord"]


class FitRecord(NamedTuple):
    """A number that a fit measured.

    Args:
        epoch: Passes over the data so far, or hundredths of the steps where a fit has
            no epochs; 0 before the first.
        step: Gradient steps so far.
        name: Such as ``"holdout_error"`` or ``"loss"``; no "/".
        value: The number.
    """

    epoch: int
    step: int
    name: str
    value: float
