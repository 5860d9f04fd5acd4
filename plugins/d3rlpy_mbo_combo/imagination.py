"""What COMBO imagines, as a set of defaults."""

import dataclasses
from typing import Optional

import d3rlpy_mbo as mbo


@dataclasses.dataclass()
class COMBOImaginationConfig(mbo.ImaginationConfig):
    """Config of COMBO's imagination: rollouts of the current learner, no penalty.

    Yu et al. 2021; sizes and schedule as in OfflineRL-Kit (run_combo.py), which reached
    what RAMBO's Table 1 prints for COMBO on seven of nine datasets, not on hopper-medium
    and hopper-medium-expert: no official code was ever released. rollout_length is 5, and
    1 on walker2d. The paper also rolls out with ``UniformPolicyConfig()`` (its choice of
    mu).
    """

    rollout_policy: mbo.RolloutPolicyConfig = mbo.component_field(
        "rollout_policy", mbo.LearnerPolicyConfig
    )
    rollout_interval: Optional[int] = 1000
    retained_refreshes: int = 5

    @staticmethod
    def get_type() -> str:
        """Returns ``"combo"``."""
        return "combo"
