"""Uniform actions over the dataset's range, or its choices."""

import dataclasses
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

from ...data.action_sets import ActionSet, action_set_of
from ...data.transitions import Transitions
from ...learners import Learner
from .interface import RolloutPolicy, RolloutPolicyConfig

__all__ = ["UniformPolicy", "UniformPolicyConfig"]


@dataclasses.dataclass()
class UniformPolicyConfig(RolloutPolicyConfig):
    """Uniform actions over the dataset's range: ROMI's on mazes and hopper (Table 6).

    In reverse they are right if an action always leads to the same state. If outcomes are
    random, even an exact reverse model then yields p(s' | s, a) / d(a | s') instead of
    p(s' | s, a): `BehaviorCloningPolicyConfig` proposes d(a | s'), which is exact for the
    step into a real state.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")

    @staticmethod
    def get_type() -> str:
        """Returns ``"uniform"``."""
        return "uniform"

    def create(self, device: DeviceArg = False) -> "UniformPolicy":
        """Returns an unfitted policy."""
        return UniformPolicy(self, device)


class UniformPolicy(RolloutPolicy):
    """Draws each action dimension uniformly over its range in the dataset, or a choice."""

    _actions: Optional[ActionSet] = None

    @property
    def fitted(self) -> bool:
        """Whether it knows the dataset's actions."""
        return self._actions is not None

    def fit(self, transitions: Transitions) -> None:
        """Takes the action set from the dataset."""
        self._actions = transitions.action_set().to(self.device)

    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Learner]
    ) -> torch.Tensor:
        """See `RolloutPolicy.sample_action`."""
        self.check_fitted()
        assert self._actions is not None
        return self._actions.sample(len(observations))

    def state_dict(self) -> dict[str, Any]:
        """Returns the action set."""
        self.check_fitted()
        assert self._actions is not None
        return self._actions.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the action set."""
        self._actions = action_set_of(state).to(self.device)
