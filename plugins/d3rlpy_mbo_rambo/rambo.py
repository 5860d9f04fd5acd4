"""RAMBO as a set of defaults."""

import dataclasses
from typing import Optional

import d3rlpy_mbo as mbo

from .adversarial import AdversarialUpdaterConfig


def _dynamics() -> mbo.ProbabilisticEnsembleConfig:
    """The official code's ensemble, where it differs from MOPO's and ROMI's.

    The weight of the bounds is a tenth of MOPO's and ROMI's, as in that code.
    """
    return mbo.ProbabilisticEnsembleConfig(
        learning_rate=3e-4,
        holdout_ratio=0.1,
        log_variance_bounds=(-6.0, 1.0),
        bounds_weight=5e-3,
        patience=10,
    )


@dataclasses.dataclass()
class RAMBOConfig(mbo.ImaginationConfig):
    """Config of RAMBO: rollouts of the current learner under an adversarial model.

    Rigter et al. 2022, Algorithm 1; schedule, sizes and ensemble as in the official
    code. The paper chooses (rollout_length, dynamics_updater.coef) for each dataset
    among (2, 3e-4), (5, 3e-4) and (5, 0) (section 6); see `rank_by_q_values`.

    The paper normalises states: give the learner d3rlpy's
    ``StandardObservationScaler(eps=1e-6)``. The ensemble standardises by itself, and
    terminations see raw states. The paper also clones the data's behavior into the
    policy first: `d3rlpy_mbo.pretrain_policy`.

    With ``dynamics.direction="reverse"`` and a rollout policy that supports it, this
    composition runs, but no results are published, and the baseline Q(s, a) is biased,
    as it depends on the sampled s.
    """

    dynamics: mbo.DynamicsConfig = mbo.component_field("dynamics", _dynamics)
    rollout_policy: mbo.RolloutPolicyConfig = mbo.component_field(
        "rollout_policy", mbo.LearnerPolicyConfig
    )
    dynamics_updater: Optional[mbo.DynamicsUpdaterConfig] = mbo.component_field(
        "dynamics_updater", AdversarialUpdaterConfig
    )
    rollout_length: int = 5
    rollout_batch_size: int = 50_000
    rollout_interval: Optional[int] = 1000
    retained_refreshes: int = 5
    real_ratio: float = 0.5

    @staticmethod
    def get_type() -> str:
        """Returns ``"rambo"``."""
        return "rambo"
