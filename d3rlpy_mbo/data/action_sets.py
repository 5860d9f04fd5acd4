"""Action sets: which actions there are, so that no other module has to know."""

from abc import ABC, abstractmethod
from typing import Any, Optional, Union

import torch
from numpy.typing import NDArray

__all__ = [
    "ActionChoices",
    "ActionRange",
    "ActionSet",
    "action_set_of",
    "columns_of",
    "is_range",
]

_Numbers = Union[torch.Tensor, NDArray[Any]]


class ActionSet(ABC):
    """The actions that a dataset allows; callers need not know their kind."""

    @property
    def n_actions(self) -> Optional[int]:
        """How many choices there are; None where actions are continuous."""
        return None

    @property
    @abstractmethod
    def size(self) -> int:
        """A, columns of an action."""

    @abstractmethod
    def project(self, actions: torch.Tensor) -> torch.Tensor:
        """Returns the nearest allowed action of each of (B, A), as environments do."""

    @abstractmethod
    def sample(self, n_rows: int) -> torch.Tensor:
        """Returns (n_rows, A) actions drawn uniformly, on the device of the set."""

    @property
    def n_columns(self) -> int:
        """Columns that networks see of an action: A, or one for each choice."""
        return self.n_actions or self.size

    def columns(self, actions: torch.Tensor) -> torch.Tensor:
        """Returns (B, n_columns) for (B, A) actions, see `columns_of`."""
        return columns_of(actions, self.n_actions)

    @abstractmethod
    def to(self, device: str) -> "ActionSet":
        """Returns the same set on another device."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns what the set is made of, on the CPU."""


class ActionRange(ActionSet):
    """The least and greatest value of each action dimension in the data.

    Args:
        low: (A,), of torch or NumPy, such as ``env.action_space.low``. Kept in float32.
        high: (A,), likewise.
    """

    def __init__(self, low: _Numbers, high: _Numbers):
        self.low = torch.as_tensor(low, dtype=torch.float32)
        self.high = torch.as_tensor(high, dtype=torch.float32)

    def __repr__(self) -> str:
        return f"ActionRange(low={self.low.tolist()}, high={self.high.tolist()})"

    @property
    def size(self) -> int:
        """See `ActionSet.size`."""
        return len(self.low)

    def project(self, actions: torch.Tensor) -> torch.Tensor:
        """Returns (B, A) actions clipped to the range."""
        return torch.clamp(actions, self.low, self.high)

    def sample(self, n_rows: int) -> torch.Tensor:
        """See `ActionSet.sample`."""
        noise = torch.rand(n_rows, self.size, device=self.low.device)
        return self.from_unit(2 * noise - 1)

    def to(self, device: str) -> "ActionRange":
        """Returns the same range on another device."""
        return ActionRange(self.low.to(device), self.high.to(device))

    def to_unit(self, actions: torch.Tensor) -> torch.Tensor:
        """Maps (B, A) actions to [-1, 1]; a constant dimension to 0."""
        width = self.high - self.low
        safe = torch.where(width > 0, width, torch.ones_like(width))
        scaled = 2 * (actions - self.low) / safe - 1
        return torch.where(width > 0, scaled, torch.zeros_like(scaled))

    def from_unit(self, actions: torch.Tensor) -> torch.Tensor:
        """Maps (B, A) from [-1, 1] to the range."""
        return self.low + (actions + 1) / 2 * (self.high - self.low)

    def state_dict(self) -> dict[str, Any]:
        """Returns ``low`` and ``high`` on the CPU."""
        return {"low": self.low.cpu(), "high": self.high.cpu()}


class ActionChoices(ActionSet):
    """Finitely many choices, known by their index: 0 to n_actions - 1.

    An action is one float32 column that holds the index, as in d3rlpy's mini-batches. An
    index is only a name: networks see one column for each choice instead.

    Args:
        n_actions: How many choices there are.
        device: Where actions are drawn.
    """

    def __init__(self, n_actions: int, device: str = "cpu"):
        self._n_actions, self._device = n_actions, device

    def __repr__(self) -> str:
        return f"ActionChoices({self._n_actions})"

    @property
    def n_actions(self) -> int:
        """See `ActionSet.n_actions`."""
        return self._n_actions

    @property
    def size(self) -> int:
        """1."""
        return 1

    def project(self, actions: torch.Tensor) -> torch.Tensor:
        """Returns the nearest index of each of (B, 1)."""
        return actions.round().clamp(0, self._n_actions - 1)

    def sample(self, n_rows: int) -> torch.Tensor:
        """See `ActionSet.sample`."""
        drawn = torch.randint(self._n_actions, (n_rows, 1), device=self._device)
        return drawn.float()

    def to(self, device: str) -> "ActionChoices":
        """Returns the same choices on another device."""
        return ActionChoices(self._n_actions, device)

    def state_dict(self) -> dict[str, Any]:
        """Returns ``n_actions``."""
        return {"n_actions": self._n_actions}


def action_set_of(state: dict[str, Any]) -> ActionSet:
    """Returns the set that a `state_dict` describes, on the CPU."""
    return ActionChoices(**state) if "n_actions" in state else ActionRange(**state)


def is_range(low: Any, high: Any) -> bool:
    """Whether two values can be an `ActionRange`: of one length, finite, in order."""
    return (
        isinstance(low, torch.Tensor)
        and isinstance(high, torch.Tensor)
        and low.dim() == 1
        and low.shape == high.shape
        and bool((low.isfinite() & high.isfinite() & (low <= high)).all())
    )


def columns_of(actions: torch.Tensor, n_actions: Optional[int]) -> torch.Tensor:
    """Returns actions as networks see them.

    Args:
        actions: (..., A); indices (..., 1) where there are choices.
        n_actions: How many choices there are, None where actions are continuous.

    Returns:
        The actions themselves, or (..., n_actions): 1 in the choice's column, else 0.
    """
    if n_actions is None:
        return actions
    columns = actions.new_zeros(*actions.shape[:-1], n_actions)
    return columns.scatter_(-1, actions.long(), 1.0)
