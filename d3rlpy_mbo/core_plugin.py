"""Core's own components, registered through the same hook as everybody's."""

from collections.abc import Iterable

from .components.dynamics.ensemble import ProbabilisticEnsembleConfig
from .components.known_rewards import (
    AntAngleReward,
    HalfCheetahJumpReward,
    HIVReward,
)
from .components.rollout_policies.behavior_cloning import BehaviorCloningPolicyConfig
from .components.rollout_policies.learner import LearnerPolicyConfig
from .components.rollout_policies.uniform import UniformPolicyConfig
from .components.terminations.classic_control import (
    AcrobotTermination,
    CartPoleTermination,
    MountainCarTermination,
)
from .components.terminations.gymnasium import (
    AntTermination,
    HopperTermination,
    HumanoidTermination,
    InvertedDoublePendulumTermination,
    InvertedPendulumTermination,
    Walker2dTermination,
)
from .components.terminations.icu_sepsis import ICUSepsisTermination
from .components.terminations.interface import NoTermination
from .components.terminations.learned import LearnedTerminationConfig
from .imagination.imagination import ImaginationConfig
from .registry.component import Component
from .registry.hookspecs import hookimpl
from .tasks.recipes import TASKS

__all__ = ["register_components"]


@hookimpl
def register_components() -> Iterable[type[Component]]:
    """Returns core's components."""
    return [
        ImaginationConfig,
        ProbabilisticEnsembleConfig,
        UniformPolicyConfig,
        BehaviorCloningPolicyConfig,
        LearnerPolicyConfig,
        LearnedTerminationConfig,
        NoTermination,
        AntTermination,
        HopperTermination,
        HumanoidTermination,
        InvertedDoublePendulumTermination,
        InvertedPendulumTermination,
        Walker2dTermination,
        AcrobotTermination,
        CartPoleTermination,
        MountainCarTermination,
        ICUSepsisTermination,
        HalfCheetahJumpReward,
        AntAngleReward,
        HIVReward,
        *TASKS,
    ]
