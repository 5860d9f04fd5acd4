"""Dynamics updaters: they change the dynamics while the learner trains."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar, Optional, Union

from d3rlpy.base import DeviceArg

from ..configs import Component, LearnedComponent
from ..errors import CompositionError
from ..learners import Learner
from ..transitions import ActionRange, Transitions
from .dynamics import Dynamics
from .learned_termination import LearnedTermination
from .rewards import RewardFunction
from .rollout_policies import RolloutPolicy
from .terminations import Termination

__all__ = ["DynamicsUpdater", "DynamicsUpdaterConfig"]


@dataclasses.dataclass()
class DynamicsUpdaterConfig(Component):
    """Base of dynamics updaters' configs.

    Args:
        update_interval: Learner steps from one update to the next; the first comes
            after so many steps (RAMBO: 1000).
    """

    kind: ClassVar[str] = "dynamics_updater"
    update_interval: int = 1000

    def __post_init__(self) -> None:
        if self.update_interval < 1:
            raise CompositionError(
                f"update_interval is {self.update_interval}, expected at least 1."
            )

    def create(self, device: DeviceArg = False) -> "DynamicsUpdater":
        """Returns an updater on a device, given as to d3rlpy's `create`."""
        raise NotImplementedError


class DynamicsUpdater(LearnedComponent):
    """Changes the dynamics, and nothing else, while the learner trains.

    Its `metrics` hold every name it will ever report, NaN before the first update:
    d3rlpy's logs know only the names that are there when training starts.
    """

    config: DynamicsUpdaterConfig

    #: Whether `update` asks the learner's critic; learners without one are refused then.
    needs_critic: ClassVar[bool] = False

    #: What the imagination it belongs to is made of, set before the first update, so
    #: that an updater can imagine as it does.
    rollout_policy: RolloutPolicy
    termination: Union[Termination, LearnedTermination, None] = None
    reward_function: Optional[RewardFunction] = None
    rollout_length: int = 1
    action_range: Optional[ActionRange] = None

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
