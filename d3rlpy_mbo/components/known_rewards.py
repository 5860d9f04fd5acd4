"""Rewards that MOPO's tasks state: models need not learn them."""

import dataclasses
import math
from typing import Any, ClassVar

import torch

from .rewards import RewardFunction

__all__ = ["HIV_CHOICES", "AntAngleReward", "HIVReward", "HalfCheetahJumpReward"]

# Gymnasium's half_cheetah_v5.py and ant_v5.py, x (and y) excluded.
_HALF_CHEETAH_HEIGHT, _HALF_CHEETAH_X_VELOCITY = 0, 8
_ANT_X_VELOCITY, _ANT_Y_VELOCITY = 13, 14

# Yu et al. 2020, appendix G.1.
_MAXIMUM_VELOCITY = 3.0
_HALF_CHEETAH_CONTROL_COST = 0.1
_HEIGHT_WEIGHT = 15.0
_INITIAL_HEIGHT = 0.0  # half_cheetah.xml; resets add U(-0.1, 0.1)
_ANGLE = math.pi / 6
_ANT_CONTROL_COST = 0.5  # gymnasium's and mopo/env/ant.py's; the paper gives none

# whynot's environments.py, in its order: none, the second drug, the first, both.
HIV_CHOICES = ((0.0, 0.0), (0.0, 0.3), (0.7, 0.0), (0.7, 0.3))
_IMMUNE_WEIGHT, _VIRUS_WEIGHT, _DOSE_WEIGHT = 1000.0, 0.1, 20_000.0
_HIV_VIRUS, _HIV_IMMUNE = 4, 5  # columns of the environment's observations
_HIV_SCALE = 1e-3


@dataclasses.dataclass()
class HalfCheetahJumpReward(RewardFunction):
    """MOPO's halfcheetah-jump: run at up to 3 m/s, and jump.

    min(v_x, 3) - 0.1 ||a||^2 + 15 (z - z_0), with z of s' and z_0 = 0. The paper
    prints max(v_x, 3) beside the words "maximum velocity 3"; a maximum would not
    reward running below 3, so this is the minimum.

    Relabelled datasets hold the simulator's v_x, the mean over a step of 0.05 s. An
    observation holds velocities at one instant, so here v_x is the mean of those at s
    and s'. Root mean square distance from the simulator's, in m/s, ours, on 2000
    HalfCheetah-v5 steps with uniform actions: 0.18, where s' alone gives 0.29 and s
    alone 0.60.

    Observations are HalfCheetah-v5's without x, D = 17.

    Source: Yu et al. 2020, appendix G.1.
    """

    @staticmethod
    def get_type() -> str:
        """Returns ``"halfcheetah_jump"``."""
        return "halfcheetah_jump"

    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Returns the rewards of steps, (B, 1), in the observations' type."""
        x_velocities = _mean_column(
            observations, next_observations, _HALF_CHEETAH_X_VELOCITY
        )
        return self.with_velocities(x_velocities, actions, next_observations)

    @staticmethod
    def with_velocities(
        x_velocities: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Returns the rewards of steps whose mean velocity is known.

        Args:
            x_velocities: (B, 1) v_x in m/s.
            actions: (B, A) a.
            next_observations: (B, D) s'.

        Returns:
            (B, 1), in the observations' type.
        """
        heights = next_observations[:, _HALF_CHEETAH_HEIGHT, None]
        return (
            x_velocities.clamp(max=_MAXIMUM_VELOCITY)
            - _HALF_CHEETAH_CONTROL_COST * _squared_norms(actions)
            + _HEIGHT_WEIGHT * (heights - _INITIAL_HEIGHT)
        )


@dataclasses.dataclass()
class AntAngleReward(RewardFunction):
    """MOPO's ant-angle: run at 30 degrees to the x axis.

    v_x cos 30 + v_y sin 30 - 0.5 ||a||^2, without healthy and contact terms; nothing
    terminates. Each velocity is the mean of those at s and s'. Root mean square
    distance from the simulator's mean over a step of 0.05 s, in m/s, ours, on 2000
    Ant-v5 steps with uniform actions: 0.07, where s alone and s' alone give 0.19.

    Observations are Ant-v5's without x and y, with or without contact forces.

    Source: Yu et al. 2020, appendix G.1.
    """

    @staticmethod
    def get_type() -> str:
        """Returns ``"ant_angle"``."""
        return "ant_angle"

    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Returns the rewards of steps, (B, 1), in the observations' type."""
        x_velocities, y_velocities = (
            _mean_column(observations, next_observations, column)
            for column in (_ANT_X_VELOCITY, _ANT_Y_VELOCITY)
        )
        return (
            math.cos(_ANGLE) * x_velocities
            + math.sin(_ANGLE) * y_velocities
            - _ANT_CONTROL_COST * _squared_norms(actions)
        )


@dataclasses.dataclass()
class HIVReward(RewardFunction):
    """MOPO's HIV: immune effectors E for the patient, virus V and doses against.

    (1000 E - 0.1 V - 20000 (e_1^2 + e_2^2)) / 1000, with E and V of s', whose last two
    columns are log10 V and log10 E. Actions are the two doses e, or the index of one of
    four choices: none, the second drug, the first, both, at 0.7 and 0.3.

    The paper does not say how it scales whynot's reward. With a thousandth (ours) 400
    days of uniform doses return 9,020 and of full ones 18,790, where its Table 5 goes
    from 6,747 (mean of the buffer) to 25,716 (SAC, online).

    Source: Yu et al. 2020, appendix F; the simulator ``hiv`` of whynot.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")

    @staticmethod
    def get_type() -> str:
        """Returns ``"hiv"``."""
        return "hiv"

    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Returns the rewards of steps, (B, 1), in the observations' type."""
        if actions.shape[1] == 1:
            choices = actions.new_tensor(HIV_CHOICES)
            actions = choices[actions[:, 0].long()]
        virus, immune = (
            torch.pow(10.0, next_observations[:, column])
            for column in (_HIV_VIRUS, _HIV_IMMUNE)
        )
        rewards: torch.Tensor = self.of_counts(virus, immune, actions.T)
        return rewards[:, None]

    @staticmethod
    def of_counts(virus: Any, immune: Any, doses: Any) -> Any:
        """Returns the reward of counts and the two doses, whatever their shapes."""
        spent = _DOSE_WEIGHT * (doses[0] ** 2 + doses[1] ** 2)
        return _HIV_SCALE * (_IMMUNE_WEIGHT * immune - _VIRUS_WEIGHT * virus - spent)


def _mean_column(
    observations: torch.Tensor, next_observations: torch.Tensor, column: int
) -> torch.Tensor:
    return (observations[:, column, None] + next_observations[:, column, None]) / 2


def _squared_norms(actions: torch.Tensor) -> torch.Tensor:
    return actions.square().sum(dim=1, keepdim=True)
