"""Uniform actions over the dataset's range."""

import dataclasses
from typing import Any, Optional

import torch
from d3rlpy.base import DeviceArg

from ...data.action_sets import ActionRange
from ...data.transitions import Transitions
from ...learners import Learner
from .interface import RolloutPolicy, RolloutPolicyConfig

__all__ = ["UniformPolicy", "UniformPolicyConfig"]


@dataclasses.dataclass()
class UniformPolicyConfig(RolloutPolicyConfig):
    """Uniform actions over the dataset's range: ROMI's on mazes and hopper (Table 6)."""

    @staticmethod
    def get_type() -> str:
        """Returns ``"uniform"``."""
        return "uniform"

    def create(self, device: DeviceArg = False) -> "UniformPolicy":
        """Returns an unfitted policy."""
        return UniformPolicy(self, device)


class UniformPolicy(RolloutPolicy):
    """Draws each action dimension uniformly over its range in the dataset."""

    _range: Optional[ActionRange] = None

    @property
    def fitted(self) -> bool:
        """Whether it knows the dataset's range."""
        return self._range is not None

    def fit(self, transitions: Transitions) -> None:
        """Takes the range from the dataset."""
        self._range = transitions.action_range().to(self.device)

    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Learner]
    ) -> torch.Tensor:
        """See `RolloutPolicy.sample_action`."""
        self.check_fitted()
        assert self._range is not None
        return self._range.sample(len(observations))

    def state_dict(self) -> dict[str, Any]:
        """Returns the range."""
        self.check_fitted()
        assert self._range is not None
        return self._range.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a range."""
        self._range = ActionRange(**state).to(self.device)
