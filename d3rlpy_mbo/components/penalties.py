"""Penalties: what an imagined reward is lowered by where the model is unsure."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar, Optional

import torch

from ..learners.reading import Learner
from ..registry.component import Component
from .dynamics.interface import Prediction

__all__ = ["Penalty"]


@dataclasses.dataclass()
class Penalty(Component):
    """Base of penalties: pure and stateless."""

    kind: ClassVar[str] = "penalty"

    @abstractmethod
    def __call__(
        self, prediction: Prediction, learner: Optional[Learner] = None
    ) -> torch.Tensor:
        """Returns what to subtract from the imagined rewards.

        Args:
            prediction: Of all members of the dynamics, not only of the elites.
            learner: The algorithm being trained, None if there is none.

        Returns:
            (B, 1) float32 in reward units, finite and at least 0.
        """
        raise NotImplementedError
