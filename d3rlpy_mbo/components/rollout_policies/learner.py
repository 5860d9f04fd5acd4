"""The learner's own actions: what MBPO, MOPO and RAMBO roll out."""

import dataclasses
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

from ... import learners
from ...data.transitions import Transitions
from ...learners import Learner
from ...registry.fields import number
from ...support.errors import CompositionError
from .interface import RolloutPolicy, RolloutPolicyConfig

__all__ = ["LearnerPolicy", "LearnerPolicyConfig"]


@dataclasses.dataclass()
class LearnerPolicyConfig(RolloutPolicyConfig):
    """The current learner's own actions, stochastic where the learner is (MBPO, MOPO).

    Args:
        epsilon: Share of uniform actions instead of the learner's own, for discrete
            learners that always take their best action, such as DQN (ours: DQN's usual
            exploration; otherwise imagined rows would say nothing about other actions).
            Continuous learners and DiscreteSAC ignore it.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
    epsilon: float = number(0.1, at_least=0, at_most=1)

    @staticmethod
    def get_type() -> str:
        """Returns ``"learner"``."""
        return "learner"

    def create(self, device: DeviceArg = False) -> "LearnerPolicy":
        """Returns the policy; it needs no fitting."""
        return LearnerPolicy(self, device)


class LearnerPolicy(RolloutPolicy):
    """Asks the learner. Forwards only: p(a | s') is not what a learner learns."""

    config: LearnerPolicyConfig
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
        return learners.sample_action(learner, observations, self.config.epsilon)

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: the learner has its own file."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over nothing."""
