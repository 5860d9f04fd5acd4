"""MOPO as a set of defaults."""

import dataclasses
from typing import Optional, Union

import d3rlpy_mbo as mbo

from .penalties import MaxAleatoric


@dataclasses.dataclass()
class MOPOConfig(mbo.ImaginationConfig):
    """Config of MOPO: penalised rollouts of the current learner, refreshed as it trains.

    Yu et al. 2020, Algorithm 2 and appendix G.2; schedule and batch sizes as in the
    official code. rollout_length and the penalty's coef per task are in Table 6.
    ``penalty=None`` is offline MBPO. halfcheetah-jump and ant-angle roll out with
    ``UniformPolicyConfig()`` (appendix G.1).

    The imagined reward is sampled, as in Algorithm 2 and the official code; section
    4.3 takes its mean.
    """

    rollout_policy: mbo.RolloutPolicyConfig = mbo.component_field(
        "rollout_policy", mbo.LearnerPolicyConfig
    )
    penalty: Optional[Union[mbo.Penalty, mbo.LearnedPenaltyConfig]] = (
        mbo.component_field("penalty", MaxAleatoric)
    )
    rollout_interval: Optional[int] = 1000
    retained_refreshes: int = 5
    real_ratio: float = 0.05

    @staticmethod
    def get_type() -> str:
        """Returns ``"mopo"``."""
        return "mopo"
