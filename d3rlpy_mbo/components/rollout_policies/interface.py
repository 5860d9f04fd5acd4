"""Rollout policies: they propose the actions of imagined rollouts."""

import dataclasses
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

from ...data.transitions import Direction, Transitions
from ...learners.reading import Learner
from ...registry.component import Component
from ..base import LearnedComponent

if TYPE_CHECKING:
    from ..context import Context

__all__ = [
    "RolloutPolicy",
    "RolloutPolicyConfig",
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
        direction: Direction of the imagination it belongs to, known before `fit`. The
            policy is asked about s if ``"forward"``, about s' if ``"reverse"``.
    """

    directions: ClassVar[tuple[Direction, ...]] = ("forward", "reverse")
    needs_learner: ClassVar[bool] = False
    direction: Direction = "forward"

    def attach(self, context: "Context") -> None:
        """See `LearnedComponent.attach`; keeps the direction."""
        super().attach(context)
        self.direction = context.direction

    @abstractmethod
    def fit(self, transitions: Transitions) -> None:
        """Fits the policy from scratch.

        Args:
            transitions: Real transitions with known next observations, on the CPU.
        """

    def begin_rollouts(self, n_rollouts: int) -> None:  # optional
        """Tells the policy that this many rollouts begin side by side. Optional.

        Until it is called again, each call of `sample_action` is about the next step of
        these rollouts, in the same order, so a policy may carry a state along them.
        Outside of rollouts, `sample_action` is called without it.
        """

    @abstractmethod
    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Learner]
    ) -> torch.Tensor:
        """Samples an action for each row.

        Args:
            observations: (B, D) s, in reverse s', in dataset units on the device.
            learner: The algorithm being trained, None if there is none.

        Returns:
            (B, A) in dataset units; the rollout projects them to the action set.
        """
