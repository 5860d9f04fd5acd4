"""What a model learns of transitions: inputs and targets of the rows asked for."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Optional, Protocol

import torch

from ...data.action_sets import columns_of
from ...data.transitions import Direction, Transitions
from ...support.devices import ROWS_IN_DOUBLE
from .networks import Standardizer

__all__ = ["Regression", "Rows", "Standardized", "in_units_of_states"]


class Rows(Protocol):
    """(N, D) of which some rows are asked for: a tensor, or what makes them."""

    @property
    def device(self) -> torch.device:
        """Where rows are."""

    def __getitem__(self, rows: Any, /) -> torch.Tensor:
        """Returns the rows of int64 indices, whatever their shape, or of a slice."""


@dataclasses.dataclass(frozen=True)
class Regression:
    """A model's inputs and targets, never those of all rows at once.

    Beside the dataset they would be nearly as large as it.

    Args:
        transitions: N rows.
        direction: Of the model.
        n_actions: Choices that the model is of; None where actions are continuous.
    """

    transitions: Transitions
    direction: Direction
    n_actions: Optional[int] = None

    def inputs(self, rows: Any = slice(None)) -> torch.Tensor:
        """Returns (B, D + A): s, in reverse s', and the action; of choices one-hot."""
        given = self.transitions.given_observations(self.direction)
        actions = columns_of(_chosen(self.transitions.actions, rows), self.n_actions)
        return torch.cat([_chosen(given, rows), actions], dim=-1)

    def targets(self, rows: Any = slice(None)) -> torch.Tensor:
        """Returns (B, D + 1): the change of s, then the reward."""
        given = self.transitions.given_observations(self.direction)
        predicted = self.transitions.predicted_observations(self.direction)
        change = _chosen(predicted, rows) - _chosen(given, rows)
        return torch.cat([change, _chosen(self.transitions.rewards, rows)], dim=-1)

    def standardizer(self, columns: Callable[[Any], torch.Tensor]) -> Standardizer:
        """Returns that of all rows of `inputs` or `targets`."""
        return Standardizer.of_chunks(columns(rows) for rows in self.chunks())

    def chunks(self) -> Iterator[slice]:
        """Yields slices that together are all rows."""
        for start in range(0, len(self.transitions), ROWS_IN_DOUBLE):
            yield slice(start, start + ROWS_IN_DOUBLE)


@dataclasses.dataclass(frozen=True)
class Standardized:
    """`Rows` that are standardised as they are asked for.

    Args:
        columns: `Regression.inputs` or `Regression.targets`.
        standardizer: Its.
    """

    columns: Callable[[Any], torch.Tensor]
    standardizer: Standardizer

    @property
    def device(self) -> torch.device:
        """See `Rows.device`."""
        return self.standardizer.mean.device

    def __getitem__(self, rows: Any, /) -> torch.Tensor:
        """See `Rows`."""
        return self.standardizer.standardize(self.columns(rows))


def in_units_of_states(inputs: Standardizer, targets: Standardizer) -> Standardizer:
    """Returns the targets' standardizer by the deviation of the states, as RAMBO has it.

    Rewards stay as they are, and what never changes is still predicted exactly. A state
    without a deviation gives no unit: an end flag, 0 in every s and 1 in some s', is in
    that of its change.

    Args:
        inputs: Of `Regression.inputs`, states first.
        targets: Of `Regression.targets`, the reward last.
    """
    n_columns = len(targets.mean) - 1
    of_states = torch.cat([inputs.std[:n_columns], torch.ones(1)])
    by_state = (targets.std > 0) & (of_states > 0)
    return Standardizer(
        torch.where(by_state, torch.zeros_like(targets.mean), targets.mean),
        torch.where(by_state, of_states, targets.std),
    )


def _chosen(column: torch.Tensor, rows: Any) -> torch.Tensor:
    """Returns column[rows], in a third of the time where rows are indices."""
    if isinstance(rows, slice):
        return column[rows]
    return column.index_select(0, rows.flatten()).view(*rows.shape, -1)
