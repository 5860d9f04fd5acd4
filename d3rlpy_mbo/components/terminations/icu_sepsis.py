"""When a patient of ICU-Sepsis is treated no more."""

import dataclasses
from typing import ClassVar

import torch

from .interface import _StateTermination

__all__ = ["ICUSepsisTermination"]


@dataclasses.dataclass()
class ICUSepsisTermination(_StateTermination):
    """ICU-Sepsis: the patient died or survived, the last two columns of s' (D = 49)."""

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")

    @staticmethod
    def get_type() -> str:
        """Returns ``"icu_sepsis"``."""
        return "icu_sepsis"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        return (next_observations[:, -2:] > 0.5).any(dim=1, keepdim=True)
