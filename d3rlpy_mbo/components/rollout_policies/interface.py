"""Rollout policies: they propose the actions of imagined rollouts."""

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

from ... import learners
from ...data.transitions import ActionRange, Direction, Transitions
from ...learners.reading import Learner
from ...support.errors import CompositionError
from ..base import Component, LearnedComponent

__all__ = [
    "LearnerPolicy",
    "LearnerPolicyConfig",
    "RolloutPolicy",
    "RolloutPolicyConfig",
    "UniformPolicy",
    "UniformPolicyConfig",
]


@dataclasses.dataclass()
class RolloutPolicyConfig(Component):
    """Base of rollout policies' configs."""

    kind: ClassVar[str] = "rollout_policy"

    def create(self, device: DeviceArg = False) -> "RolloutPolicy":
        """Returns an unfitted policy on a device, given as to d3rlpy's `create`."""
        raise NotImplementedError


class RolloutPolicy(LearnedComponent):
    """Proposes actions at the states a rollout visits.

    Attributes:
        directions: The directions it supports.
        needs_learner: Whether `sample_action` asks the learner.
        direction: Direction of the imagination it belongs to, set before `fit`. What
            it is asked with is s when ``"forward"``, s' when ``"reverse"``.
    """

    directions: ClassVar[tuple[Direction, ...]] = ("forward", "reverse")
    needs_learner: ClassVar[bool] = False
    direction: Direction = "forward"

    @abstractmethod
    def fit(self, transitions: Transitions) -> None:
        """Fits the policy from scratch.

        Args:
            transitions: Real transitions with known next observations, on the CPU.
        """

    @abstractmethod
    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Learner]
    ) -> torch.Tensor:
        """Samples an action for each row.

        Args:
            observations: (B, D) s, reverse s', in dataset units on the device.
            learner: The algorithm being trained, None if there is none.

        Returns:
            (B, A) in dataset units; the rollout clips them to the dataset's range.
        """


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
        noise = torch.rand(
            len(observations), len(self._range.low), device=observations.device
        )
        return self._range.from_unit(2 * noise - 1)

    def state_dict(self) -> dict[str, Any]:
        """Returns the range."""
        self.check_fitted()
        assert self._range is not None
        return self._range.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a range."""
        self._range = ActionRange(**state).to(self.device)


@dataclasses.dataclass()
class LearnerPolicyConfig(RolloutPolicyConfig):
    """The current learner's own actions, stochastic where the learner is (MBPO, MOPO)."""

    @staticmethod
    def get_type() -> str:
        """Returns ``"learner"``."""
        return "learner"

    def create(self, device: DeviceArg = False) -> "LearnerPolicy":
        """Returns the policy; it needs no fitting."""
        return LearnerPolicy(self, device)


class LearnerPolicy(RolloutPolicy):
    """Asks the learner. It acts forwards only: p(a | s') is not what it learned."""

    directions = ("forward",)
    needs_learner = True

    @property
    def fitted(self) -> bool:
        """Always."""
        return True

    def fit(self, transitions: Transitions) -> None:
        """Does nothing: the learner learns by itself."""

    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Learner]
    ) -> torch.Tensor:
        """See `RolloutPolicy.sample_action`.

        Raises:
            CompositionError: There is no learner, or it is not built.
        """
        if learner is None:
            raise CompositionError(
                "This imagination rolls out with the learner's policy but got no "
                "learner. Pass learner=..., or use another rollout_policy."
            )
        return learners.sample_action(learner, observations)

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: the learner has its own file."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over nothing."""
