"""Core's own components, registered through the same hook as everybody's."""

from collections.abc import Iterable

from .components.behavior_cloning import BehaviorCloningPolicyConfig
from .components.ensemble import ProbabilisticEnsembleConfig
from .components.gymnasium_terminations import (
    AntTermination,
    HopperTermination,
    HumanoidTermination,
    InvertedDoublePendulumTermination,
    InvertedPendulumTermination,
    Walker2dTermination,
)
from .components.known_rewards import AntAngleReward, HalfCheetahJumpReward
from .components.learned_termination import LearnedTerminationConfig
from .components.rollout_policies import LearnerPolicyConfig, UniformPolicyConfig
from .components.terminations import NoTermination
from .configs import Component
from .hookspecs import hookimpl
from .imagination import ImaginationConfig

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
        HalfCheetahJumpReward,
        AntAngleReward,
    ]
