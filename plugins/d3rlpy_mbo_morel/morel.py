"""MOReL as a set of defaults."""

import dataclasses
from typing import Optional

import d3rlpy_mbo as mbo

from .halt import DisagreementHaltConfig


@dataclasses.dataclass()
class MOReLConfig(mbo.ImaginationConfig):
    """Config of MOReL: the learner's rollouts, halted where the model is unknown.

    Kidambi et al. 2020. The paper plans with NPG in the halting model, on paths of 500 to
    1000 steps from the data's initial states; here any d3rlpy learner trains on the rows,
    imagined from any state of the data. Sizes and schedule are those of unifloral, which
    trains SAC so: five steps from 50,000 states, every 1000 steps of the learner.
    real_ratio is MOPO's 0.05, where unifloral has 0.01.
    """

    rollout_policy: mbo.RolloutPolicyConfig = mbo.component_field(
        "rollout_policy", mbo.LearnerPolicyConfig
    )
    rollout_interval: Optional[int] = 1000
    retained_refreshes: int = 5
    real_ratio: float = 0.05
    halt: Optional[mbo.HaltConfig] = mbo.component_field("halt", DisagreementHaltConfig)

    @staticmethod
    def get_type() -> str:
        """Returns ``"morel"``."""
        return "morel"
