"""What a fit measured while it ran, kept for the logs of the run that follows."""

from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["FitRecord", "plain", "records"]


class FitRecord(NamedTuple):
    """A number that a fit measured.

    Args:
        epoch: Passes over the data so far, or hundredths of the steps if a fit has no
            epochs; 0 before the first.
        step: Gradient steps so far.
        name: Such as ``"holdout_error"`` or ``"loss"``; no "/".
        value: The number.
    """

    epoch: int
    step: int
    name: str
    value: float


def plain(history: Iterable[FitRecord]) -> list[list[Any]]:
    """Returns a history as lists, which a checkpoint can hold."""
    return [list(record) for record in history]


def records(history: Iterable[list[Any]]) -> list[FitRecord]:
    """Returns the history that `plain` made lists of."""
    return [FitRecord(*record) for record in history]
