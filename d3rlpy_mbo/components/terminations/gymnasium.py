"""Terminations of Gymnasium's environments, by the rules of their source.

Each follows ``gymnasium/envs/mujoco/*_v4.py`` and ``*_v5.py`` of gymnasium 1.0.0, whose
documentation errs in places. They read s' alone, in the default layout, which leaves
out the positions that the task is invariant to. As there, a comparison with NaN fails.
"""

import dataclasses
import math

import torch

from ...registry.fields import interval
from .interface import _StateTermination

__all__ = [
    "AntTermination",
    "HopperTermination",
    "HumanoidTermination",
    "InvertedDoublePendulumTermination",
    "InvertedPendulumTermination",
    "Walker2dTermination",
]


def _inside(values: torch.Tensor, interval: tuple[float, float]) -> torch.Tensor:
    """Returns (B, 1): whether all of a row's (B, K) values lie in the open interval."""
    low, high = interval
    return ((low < values) & (values < high)).all(dim=1, keepdim=True)


@dataclasses.dataclass()
class HopperTermination(_StateTermination):
    """Hopper: the torso sinks or tilts, or some value runs away.

    s' (D = 11) is (z, angle, 3 joint angles, 6 velocities). The environment tests
    velocities before it clips them to +-10 in s', so one beyond 100 is invisible here.

    Args:
        healthy_state_range: Open interval for every value of s' but z, rad and m/s.
        healthy_z_range: Open interval for the torso's height, m.
        healthy_angle_range: Open interval for the torso's angle, rad.
    """

    healthy_state_range: tuple[float, float] = interval(-100.0, 100.0, infinite=True)
    healthy_z_range: tuple[float, float] = interval(0.7, math.inf, infinite=True)
    healthy_angle_range: tuple[float, float] = interval(-0.2, 0.2, infinite=True)

    @staticmethod
    def get_type() -> str:
        """Returns ``"hopper"``."""
        return "hopper"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        healthy = (
            _inside(next_observations[:, 1:], self.healthy_state_range)
            & _inside(next_observations[:, :1], self.healthy_z_range)
            & _inside(next_observations[:, 1:2], self.healthy_angle_range)
        )
        return ~healthy


@dataclasses.dataclass()
class Walker2dTermination(_StateTermination):
    """Walker2d: the torso leaves its heights or tilts.

    s' (D = 17) is (z, angle, 6 joint angles, 9 velocities). The documentation lets z
    reach 1.0, the source 2.0.

    Args:
        healthy_z_range: Open interval for the torso's height, m.
        healthy_angle_range: Open interval for the torso's angle, rad.
    """

    healthy_z_range: tuple[float, float] = interval(0.8, 2.0, infinite=True)
    healthy_angle_range: tuple[float, float] = interval(-1.0, 1.0, infinite=True)

    @staticmethod
    def get_type() -> str:
        """Returns ``"walker2d"``."""
        return "walker2d"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        healthy = _inside(next_observations[:, :1], self.healthy_z_range) & _inside(
            next_observations[:, 1:2], self.healthy_angle_range
        )
        return ~healthy


@dataclasses.dataclass()
class AntTermination(_StateTermination):
    """Ant: the torso leaves its heights, or a value is not finite.

    s' (D = 105; v4: 27) is (z, torso's quaternion, 8 joint angles, 14 velocities), then
    contact forces if the environment reports them.

    Args:
        healthy_z_range: Closed interval for the torso's height, m.
    """

    healthy_z_range: tuple[float, float] = interval(0.2, 1.0, infinite=True)

    @staticmethod
    def get_type() -> str:
        """Returns ``"ant"``."""
        return "ant"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        low, high = self.healthy_z_range
        z = next_observations[:, :1]
        finite = torch.isfinite(next_observations).all(dim=1, keepdim=True)
        return ~(finite & (low <= z) & (z <= high))


@dataclasses.dataclass()
class HumanoidTermination(_StateTermination):
    """Humanoid: the torso leaves its heights.

    s' (D = 348; v4: 376) is (z, torso's quaternion, 17 joint angles, 23 velocities), then
    inertias, velocities and forces of the bodies.

    Args:
        healthy_z_range: Open interval for the torso's height, m.
    """

    healthy_z_range: tuple[float, float] = interval(1.0, 2.0, infinite=True)

    @staticmethod
    def get_type() -> str:
        """Returns ``"humanoid"``."""
        return "humanoid"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        return ~_inside(next_observations[:, :1], self.healthy_z_range)


@dataclasses.dataclass()
class InvertedPendulumTermination(_StateTermination):
    """InvertedPendulum: the pole tilts by more than 0.2 rad, or a value is not finite.

    s' (D = 4) is (cart's position, pole's angle, their velocities).
    """

    @staticmethod
    def get_type() -> str:
        """Returns ``"inverted_pendulum"``."""
        return "inverted_pendulum"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        finite = torch.isfinite(next_observations).all(dim=1, keepdim=True)
        return ~finite | (next_observations[:, 1:2].abs() > 0.2)


@dataclasses.dataclass()
class InvertedDoublePendulumTermination(_StateTermination):
    """InvertedDoublePendulum: the tip of the second pole is no higher than 1 m.

    s' (D = 9; v4: 11) is (cart's position, sines of the two angles, their cosines, 3
    velocities, forces). Both poles are 0.6 m long; the second angle counts from the
    first pole. The environment takes the tip's height from the integrator's last stage,
    s' from its result: they differ by up to 4e-5 m in episodes of random actions, and
    by millimetres at 10 rad/s (measured).
    """

    @staticmethod
    def get_type() -> str:
        """Returns ``"inverted_double_pendulum"``."""
        return "inverted_double_pendulum"

    def _ends(self, next_observations: torch.Tensor) -> torch.Tensor:
        _, sin_1, sin_2, cos_1, cos_2 = next_observations[:, :5].T
        heights: torch.Tensor = 0.6 * cos_1 + 0.6 * (cos_1 * cos_2 - sin_1 * sin_2)
        return (heights <= 1).unsqueeze(1)
