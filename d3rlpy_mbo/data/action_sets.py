"""Action sets: which actions there are, so that nobody else has to know."""

from abc import ABC, abstractmethod
from typing import Any

import torch

__all__ = ["ActionRange", "ActionSet"]


class ActionSet(ABC):
    """The actions that a dataset allows; what asks it need not know their kind."""

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

    @abstractmethod
    def to(self, device: str) -> "ActionSet":
        """Returns the same set on another device."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns what the set is made of, on the CPU."""


class ActionRange(ActionSet):
    """The least and greatest value of each action dimension in the data.

    Args:
        low: (A,).
        high: (A,).
    """

    def __init__(self, low: torch.Tensor, high: torch.Tensor):
        self.low, self.high = low, high

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
