"""Terminations: whether the environment ends the episode at s'."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar

import torch

from ...registry.component import Component

__all__ = ["NoTermination", "Termination"]


@dataclasses.dataclass()
class Termination(Component):
    """Base of terminations: a rule, pure and stateless."""

    kind: ClassVar[str] = "termination"

    @abstractmethod
    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Says which steps end an episode; always asked in time order.

        To ask whether a state s that it reached is itself terminal, a reverse rollout
        passes s as next_observations too.

        Args:
            observations: (B, D) s in dataset units.
            actions: (B, A) a.
            next_observations: (B, D) s'.

        Returns:
            (B, 1) bool.
        """
        raise NotImplementedError


@dataclasses.dataclass()
class _StateTermination(Termination):
    """Base: a rule that reads s' alone."""

    @abstractmethod
    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        """Returns (B, 1) bool for s' (B, D)."""

    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """See `Termination`."""
        return self._ends(next_observations)


@dataclasses.dataclass()
class NoTermination(Termination):
    """Never: for tasks that only time out (mazes, HalfCheetah)."""

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")

    @staticmethod
    def get_type() -> str:
        """Returns ``"never"``."""
        return "never"

    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Returns False for every row, (B, 1)."""
        return torch.zeros(
            len(next_observations), 1, dtype=torch.bool, device=next_observations.device
        )
