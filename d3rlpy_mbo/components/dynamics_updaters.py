"""Dynamics updaters: they change the dynamics while the learner trains."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar, Optional, Union

from d3rlpy.base import DeviceArg

from ..data.action_sets import ActionRange, ActionSet
from ..data.transitions import Transitions
from ..learners.reading import Learner
from ..registry.component import Component
from ..registry.fields import number
from .base import LearnedComponent
from .context import Context
from .dynamics.interface import Dynamics
from .rewards import RewardFunction
from .rollout_policies.interface import RolloutPolicy
from .terminations.interface import Termination
from .terminations.learned import LearnedTermination

__all__ = ["DynamicsUpdater", "DynamicsUpdaterConfig"]


@dataclasses.dataclass()
class DynamicsUpdaterConfig(Component):
    """Base of dynamics updaters' configs.

    Args:
        update_interval: Learner steps from one update to the next, and before the first
            one (RAMBO: 1000).
    """

    kind: ClassVar[str] = "dynamics_updater"
    update_interval: int = number(1000, at_least=1, whole=True)

    def __post_init__(self) -> None:
        """Does nothing; subclasses of version 0.1 call it."""

    def create(self, device: DeviceArg = False) -> "DynamicsUpdater":
        """Returns an updater on a device, given as to d3rlpy's `create`."""
        raise NotImplementedError


class DynamicsUpdater(LearnedComponent):
    """Changes the dynamics, and nothing else, while the learner trains.

    Its `metrics` hold every name it will ever report, NaN before the first update:
    d3rlpy's logs know only the names that are there when training starts.

    The attributes from `rollout_policy` on are the imagination's, as `attach` was told
    them, so that an updater can imagine as the imagination does.

    Attributes:
        needs_critic: Whether `update` asks the learner's critic; if so, learners without
            one are refused.
        rollout_policy: Proposes actions.
        termination: What ends imagined episodes, None if nothing does.
        reward_function: Known rewards, None for predicted ones.
        rollout_length: The most steps of a rollout.
        action_set: The set that actions are projected to, on the imagination's device.
        action_range: The same for continuous actions, None for choices.
    """

    config: DynamicsUpdaterConfig
    needs_critic: ClassVar[bool] = False
    rollout_policy: RolloutPolicy
    termination: Union[Termination, LearnedTermination, None] = None
    reward_function: Optional[RewardFunction] = None
    rollout_length: int = 1
    action_set: Optional[ActionSet] = None
    action_range: Optional[ActionRange] = None

    def attach(self, context: Context) -> None:
        """See `LearnedComponent.attach`; keeps all of it as attributes."""
        super().attach(context)
        self.rollout_policy = context.rollout_policy
        self.termination = context.termination
        self.reward_function = context.reward_function
        self.rollout_length = context.rollout_length
        known = context.action_set
        if known is not None:
            self.action_set = known
            self.action_range = known if isinstance(known, ActionRange) else None

    def apply(
        self, dynamics: Dynamics, transitions: Transitions, learner: Learner
    ) -> None:
        """Does an `update`, and keeps its numbers among the metrics."""
        self.metrics |= self.update(dynamics, transitions, learner)

    @abstractmethod
    def update(
        self, dynamics: Dynamics, transitions: Transitions, learner: Learner
    ) -> dict[str, float]:
        """Changes the parameters of the dynamics.

        Args:
            dynamics: Fitted; offers `log_prob`, `training_loss` and `parameters`.
            transitions: The real ones with known next observations, on the CPU.
            learner: The algorithm being trained; must be left as it was.

        Returns:
            Numbers for d3rlpy's logs, names without "/".
        """
