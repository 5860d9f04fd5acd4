"""Terminations of Gymnasium's classic control, by the rules of their source.

Each follows ``gymnasium/envs/classic_control`` of gymnasium 1.0.0 and reads s' alone.
"""

import dataclasses
import math
from typing import ClassVar

import torch

from ...registry.fields import number
from .interface import _StateTermination

__all__ = ["AcrobotTermination", "CartPoleTermination", "MountainCarTermination"]

_POSITION_LIMIT = 2.4  # m
_ANGLE_LIMIT = 12 * 2 * math.pi / 360  # rad
_GOAL_HEIGHT = 1.0  # in lengths of a link
_GOAL_POSITION = 0.5


@dataclasses.dataclass()
class CartPoleTermination(_StateTermination):
    """CartPole: the cart leaves the track or the pole tilts.

    s' (D = 4) is (position, velocity, angle, angular velocity).
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")

    @staticmethod
    def get_type() -> str:
        """Returns ``"cart_pole"``."""
        return "cart_pole"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        position, angle = (
            next_observations[:, 0:1].abs(),
            next_observations[:, 2:3].abs(),
        )
        return (position > _POSITION_LIMIT) | (angle > _ANGLE_LIMIT)


@dataclasses.dataclass()
class AcrobotTermination(_StateTermination):
    """Acrobot: the tip is higher than a link above the axis.

    s' (D = 6) is (cosine and sine of both angles, 2 velocities).
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")

    @staticmethod
    def get_type() -> str:
        """Returns ``"acrobot"``."""
        return "acrobot"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        cosine, sine, inner_cosine, inner_sine = next_observations[:, :4, None].unbind(
            1
        )
        both = cosine * inner_cosine - sine * inner_sine  # of the sum of the angles
        return -cosine - both > _GOAL_HEIGHT


@dataclasses.dataclass()
class MountainCarTermination(_StateTermination):
    """MountainCar with three actions: the car is at the flag, and fast enough.

    s' (D = 2) is (position, velocity).

    Args:
        goal_velocity: The least velocity at the flag that counts, in positions per step.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
    goal_velocity: float = number(0.0)

    @staticmethod
    def get_type() -> str:
        """Returns ``"mountain_car"``."""
        return "mountain_car"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        position, velocity = next_observations[:, :2, None].unbind(1)
        return (position >= _GOAL_POSITION) & (velocity >= self.goal_velocity)
