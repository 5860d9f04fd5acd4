"""Reward functions: where the reward is known, instead of the predicted one."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar

import torch

from ..registry.component import Component

__all__ = ["RewardFunction"]


@dataclasses.dataclass()
class RewardFunction(Component):
    """Base of known rewards: pure and stateless."""

    kind: ClassVar[str] = "reward_function"

    @abstractmethod
    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Returns the rewards of steps, which are always given in time order.

        Args:
            observations: (B, D) s in dataset units.
            actions: (B, A) a.
            next_observations: (B, D) s'.

        Returns:
            (B, 1) float32, in dataset units.
        """
        raise NotImplementedError
