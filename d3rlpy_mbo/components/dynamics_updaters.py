"""Dynamics updaters: they change the dynamics while the learner trains."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar

from d3rlpy.base import DeviceArg

from ..configs import Component, LearnedComponent
from ..learners import Learner
from ..transitions import Transitions
from .dynamics import Dynamics

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

    def create(self, device: DeviceArg = False) -> "DynamicsUpdater":
        """Returns an updater on a device, given as to d3rlpy's `create`."""
        raise NotImplementedError


class DynamicsUpdater(LearnedComponent):
    """Changes the dynamics, and nothing else, while the learner trains."""

    config: DynamicsUpdaterConfig

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
